# SPDX-License-Identifier: Apache-2.0
"""The package on a head unit: installed with dpkg, configured, and asked how it goes."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.headunit.agent.traffic import BUSES
from tests.headunit.box.car import database
from tests.headunit.box.cloud import URL
from tests.headunit.box.lines import PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.headunit.box.headunit import HeadUnit

UNIT = "canferry.service"
USER = "canferry"
VEHICLE = "car-1"
CONFIG = "/etc/canferry/agent.toml"
_BUS = """
[[bus]]
name = "{name}"
interface = "socketcan"
channel = "{interface}"
dbc = ["dbc/{name}.dbc"]
"""
_CONFIG = """
[vehicle]
id = "{vehicle}"
{buses}
[batch]
interval = "{interval}"
silence = "1s"
[spool]
limit = "48MiB"
segment = "{segment}"
min_free = "0B"
[mqtt]
broker = "{broker}"
keepalive = "5s"
backoff_base = "50ms"
backoff_max = "1s"
[agent]
shutdown_grace = "20s"
receive_buffer = "{receive_buffer}"
"""


def configuration(*, interval: str = "1s", segment: str = "1MiB", receive_buffer: str = "8MiB") -> str:
    """Two buses, short batches, the broker behind the link."""
    buses = "".join(_BUS.format(name=name, interface=interface) for name, interface in BUSES.items())
    return _CONFIG.format(
        vehicle=VEHICLE, buses=buses, interval=interval, segment=segment, receive_buffer=receive_buffer, broker=URL
    )


@dataclass
class Service:
    """canferry, installed on a unit."""

    unit: HeadUnit

    def install(self, package: Path) -> None:
        """With dpkg; not configured, not started. No index of manual pages: it opens more files than a host lets."""
        shutil.copy(package, self.unit.shared / package.name)
        self.unit.run(f"rm -f /var/lib/man-db/auto-update; dpkg --install {self.unit.shared / package.name}")

    def configure(self, text: str) -> None:
        """The configuration and the DBC files of the two buses."""
        files = {CONFIG: text} | {f"/etc/canferry/dbc/{name}.dbc": database(name) for name in BUSES}
        self.unit.write(files)

    def start(self) -> None:
        """It is ready on return, as systemd understands it."""
        self.unit.run(f"systemctl start {UNIT}")

    def stop(self) -> None:
        """In good order."""
        self.unit.run(f"systemctl stop {UNIT}")

    def reload(self) -> None:
        """SIGHUP."""
        self.unit.run(f"systemctl reload {UNIT}")

    def show(self, *properties: str) -> Mapping[str, str]:
        """As systemd sees it."""
        names = ",".join(properties)
        lines = self.unit.run(f"systemctl show --property={names} {UNIT}").splitlines()
        return dict(line.split("=", 1) for line in lines)

    def pid(self) -> int:
        """Of the agent, 0 where it does not run."""
        return int(self.show("MainPID")["MainPID"])

    def kill(self, signal: str) -> None:
        """A signal to the agent."""
        self.unit.run(f"systemctl kill --kill-whom=main --signal={signal} {UNIT}")

    def again(self, since: int, timeout_s: float = PATIENCE_S) -> None:
        """Wait until it is ready after it was ended; `since`: entries of the journal before that."""
        ended = self.unit.log.told("Main process exited", since=since, timeout_s=timeout_s)
        self.unit.log.told("Started canferry.service", since=ended.number, timeout_s=timeout_s)

    def ready_after_s(self) -> float:
        """From systemd's start of the process to its being ready, the last time."""
        shown = self.show("ExecMainStartTimestampMonotonic", "ActiveEnterTimestampMonotonic")
        begun = int(shown["ExecMainStartTimestampMonotonic"])
        return (int(shown["ActiveEnterTimestampMonotonic"]) - begun) / 1e6

    def spooled(self) -> tuple[int, int]:
        """Batches and KiB that wait, as its status says every ten seconds."""
        found = re.search(r"spool (\d+) batches (\d+)KiB", self.show("StatusText")["StatusText"])
        return (int(found[1]), int(found[2])) if found else (0, 0)

    def memory_peak_bytes(self) -> int:
        """The most that the service has had since its start."""
        return int(self.unit.run(f"cat /sys/fs/cgroup/system.slice/{UNIT}/memory.peak"))

    def run_inside(self, script: str) -> str:
        """Python in the service's own view of the file system, as its user."""
        path = self.unit.shared / "inside.py"
        path.write_text(script)
        enter = f"nsenter --mount --target={self.pid()} --setuid=$(id -u {USER}) --setgid=$(id -g {USER})"
        return self.unit.run(f'{enter} /opt/canferry/bin/python -I -c "$(cat {path})"')
