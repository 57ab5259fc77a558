# SPDX-License-Identifier: Apache-2.0
"""A head unit in User-Mode Linux: ext4 on a disk that survives, a link, two buses; with systemd, or bare.

Promise: `boot` returns when what a unit has around the agent runs; the disk is the same as before. Nothing of the host
is changed; a power cut (`cut_power`) costs the machine all but the disk.

    HeadUnit   systemd and journald; `run` runs a shell script in it as root, `log` is its journal while it is written
    BareUnit   no service manager: the agent is started by the first process, for what needs many boots; `log` is what
               the agent says

Limits: one machine at a time. Failure: a script that fails, or does not end in time, is a `UnitError` with its output.

    FOLDER/boot-0001/   of the first boot, and so on: jobs, their output, console
    FOLDER/disk         what is mounted on /var/lib/canferry
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.headunit.box.car import Car
from tests.headunit.box.cloud import PROJECT, UNIT_ADDRESS
from tests.headunit.box.lines import PATIENCE_S, Jobs, Log, UnitError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.headunit.box.cloud import Cloud
    from tests.headunit.machine import Machine

DISK_BYTES = 96 << 20
STATE = "/var/lib/canferry"
SOCKET_FOLDER = "/run/canferry"
_SYSTEMD = """\
#!/bin/sh
FOLDER={folder} PROJECT={project} ADDRESS={address} PYTHON={python}
MODULES="overlay can-dev vcan can-raw sch_netem"
SERVICES="jobs.service journal.service car.service"
. {project}/tests/headunit/box/boot.sh
"""
_BARE = """\
#!/bin/sh
FOLDER={folder} PROJECT={project} ADDRESS={address} PYTHON={python}
MODULES="can-dev vcan can-raw"
CONFIG={config}
. {project}/tests/headunit/box/bare.sh
"""


class Box:
    """What both kinds share: the disk, the link to the cloud, the car around them."""

    def __init__(self, machine: Machine, cloud: Cloud, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.cloud = cloud
        self.car = Car()
        self.boots = 0
        self.disk = folder / "disk"
        self._machine = machine
        self._on = contextlib.ExitStack()
        with self.disk.open("wb") as file:
            file.truncate(DISK_BYTES)
        subprocess.run(["mkfs.ext4", "-q", "-F", str(self.disk)], check=True)

    @property
    def shared(self) -> Path:
        """A folder of this boot's that has the same path inside and outside."""
        return self.folder / f"boot-{self.boots:04d}"

    def cut_power(self) -> None:
        """At once; the disk stays as it is."""
        self._on.close()

    def _switch_on(self, init: str, lines: int, *, memory_mb: int, **names: object) -> list[socket.socket]:
        """The host's ends of the machine's first lines; the last one is the car's."""
        self.boots += 1
        (self.shared / "top").mkdir(parents=True)
        script = init.format(folder=self.shared, project=PROJECT, address=UNIT_ADDRESS, python=sys.executable, **names)
        host, machine = zip(*(socket.socketpair() for _ in range(lines + 1)), strict=True)
        self.car.listen(host[-1])
        running = self._machine.boot(
            script, self.shared, memory_mb=memory_mb, disks=[self.disk], lines=machine, tap=self.cloud.tap
        )
        for line in machine:
            line.close()
        for each in (*host, running):  # closed in reverse: the lines have ended then
            self._on.enter_context(each)
        return list(host[:-1])


class HeadUnit(Box):
    """With systemd."""

    def boot(self) -> None:
        """Switch it on."""
        jobs, journal = self._switch_on(_SYSTEMD, 2, memory_mb=2048)
        self._jobs, self.log = Jobs(jobs, self.shared / "jobs"), Log(journal)
        self._jobs.ready()

    def run(self, script: str, *, timeout_s: float = PATIENCE_S) -> str:
        """Run a script (sh, stops at the first error) and return what it printed."""
        number = self._jobs.begin(f"set -e\n{script}\n")
        status = self._jobs.status(number, timeout_s)
        output = self._jobs.output(number)
        if status:
            raise UnitError(f"exit status {status} of\n{script}\n{output}")
        return output

    def write(self, files: Mapping[str, str]) -> None:
        """Put files in place, by their path inside."""
        script = []
        for number, (path, text) in enumerate(files.items()):
            (self.shared / f"file-{number}").write_text(text)
            script.append(f"cp {self.shared}/file-{number} {path}.new; mv {path}.new {path}")
        self.run("\n".join(script))


class BareUnit(Box):
    """Without."""

    def boot(self, config: Path) -> None:
        """Switch it on; the agent runs with this configuration, of which the state is in `STATE`."""
        (said,) = self._switch_on(_BARE, 1, memory_mb=512, config=config)
        self.log = Log(said)
