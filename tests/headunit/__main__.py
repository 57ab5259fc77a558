# SPDX-License-Identifier: Apache-2.0
"""A head unit to look around in: `python -m tests.headunit [--rate HZ]`, as root.

It boots, the package is built and installed, the service runs, and the car drives on both buses. Then each line typed
is run in the unit by a shell, as root: `systemctl status canferry`, `journalctl -u canferry`, `candump vcan0 -n 5`,
`ip link set vcan1 down`. At the end of the input the machine is switched off, and nothing is left of it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.headunit import machine
from tests.headunit.box import cloud as clouds
from tests.headunit.box.cloud import Cloud
from tests.headunit.box.headunit import HeadUnit
from tests.headunit.box.lines import UnitError
from tests.headunit.box.scenario import RATE_HZ
from tests.headunit.box.service import Service, configuration
from tests.support.package import built_package

if TYPE_CHECKING:
    from collections.abc import Iterable


def main() -> int:
    """Boot, and run what is typed."""
    parser = argparse.ArgumentParser(prog="python -m tests.headunit", description="a head unit to look around in")
    parser.add_argument("--rate", type=float, default=RATE_HZ, help="frames a second (default: %(default)g)")
    arguments = parser.parse_args()
    if reason := machine.missing() or clouds.missing():
        print(f"headunit: {reason}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="headunit-") as scratch, Cloud(Path(scratch) / "cloud") as cloud:
        unit = HeadUnit(machine.Machine(Path(scratch)), cloud, Path(scratch) / "unit")
        try:
            put_into_service(unit, Path(scratch))
            unit.car.rate(arguments.rate)
            run_each(unit, sys.stdin)
        finally:
            unit.cut_power()
    return 0


def put_into_service(unit: HeadUnit, scratch: Path) -> None:
    """Boot it with the service installed, configured and running."""
    _say("building the package")
    package = built_package(scratch)
    _say("booting")
    unit.boot()
    service = Service(unit)
    service.install(package)
    service.configure(configuration())
    service.start()
    _say(f"canferry is ready after {service.ready_after_s():.1f} s; what arrives is in {unit.cloud.out}")
    _say("each line is run in the unit as root; the end of the input (ctrl-D) switches it off")


def run_each(unit: HeadUnit, lines: Iterable[str]) -> None:
    """Each line as a script; what it prints, and how it failed."""
    _prompt()
    for line in lines:
        try:
            print(unit.run(line), end="", flush=True)
        except UnitError as error:
            print(error, flush=True)
        _prompt()
    print()


def _prompt() -> None:
    if sys.stdin.isatty():
        print("headunit# ", end="", flush=True)


def _say(text: str) -> None:
    print(f"--- {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
