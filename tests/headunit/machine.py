# SPDX-License-Identifier: Apache-2.0
"""A head unit to test on: User-Mode Linux, a whole kernel that runs as an ordinary process.

Promise: `Machine.start` boots a kernel which has SocketCAN, vcan and real disks, with the host's own file
system as its root, and runs a shell script in it as root. What the script prints and how it exits comes back
as an `Outcome`. Nothing of the host is changed but what the script writes to its files; every file of the
machine's own lies in the folder given. `Running.cut_power` ends the machine as a power cut would.

`Machine.boot` takes any first process instead of a script, and gives the machine serial lines to talk to the host
and a network interface.

Limits: x86-64, one processor, no network but its own loopback and what it is given. Python runs at native speed,
system calls and page faults are slow: judge correctness inside and speed outside. The kernel and its processes are
pinned to one processor of the host: each system call goes back and forth between two host processes, which costs
four times as much across processors.

Failure: `missing()` tells in one sentence what the host lacks. A machine that does not end in time is killed
and is a `MachineError` with the end of its console, and so is one that ends without a result.

The exit status does not come out of the kernel by itself, so the script's is written to a file:

    FOLDER/init      what runs as process 1: mounts, modules, loopback, script, halt
    FOLDER/output    what the script printed
    FOLDER/status    how it exited
    FOLDER/console   what the kernel said
"""

from __future__ import annotations

import os
import platform
import shutil
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Self

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

KERNEL = "linux.uml"
MODULES = Path("/usr/lib/uml/modules")
CAN_MODULES = ("can-dev", "vcan", "can-raw")

_INIT = """\
#!/bin/sh
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs tmpfs /run
mkdir -p /dev/pts /dev/shm /run/tmp
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
export HOME=/root TMPDIR=/run/tmp
ip link set lo up
for module in {modules}; do modprobe -d {folder} $module; done
cd {directory}
sh {folder}/script >{folder}/output 2>&1 </dev/null
echo $? >{folder}/status.new
mv {folder}/status.new {folder}/status
sync
halt -f -p
"""


class MachineError(Exception):
    """The machine did not give a result: says why, with the end of its console."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the script in the machine ended: its exit status and everything it printed."""

    status: int
    output: str


def missing() -> str | None:
    """What the host lacks to run a machine, in one sentence; None: nothing."""
    if platform.machine() != "x86_64":
        return f"User-Mode Linux needs x86-64, this is {platform.machine()}"
    if shutil.which(KERNEL) is None or not MODULES.is_dir():
        return "User-Mode Linux is missing: apt-get install user-mode-linux kmod iproute2"
    if os.geteuid() != 0:
        return "the machine's root is the host's file system: it needs root"
    if shutil.which("cc") is None and " amx_tile" in Path("/proc/cpuinfo").read_text():
        return "this processor has AMX, for which User-Mode Linux needs xstate.c compiled: apt-get install gcc"
    return None


@dataclass(frozen=True, slots=True)
class Tap:
    """A network interface of the host, by the path of its network namespace and its name there."""

    namespace: str
    name: str


class Running:
    """A machine that has been started."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path, console: IO[bytes]) -> None:
        self.folder = folder
        self._process = process
        self._console = console

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.cut_power()
        self._console.close()

    def wait(self, timeout_s: float) -> Outcome:
        """The script's outcome, once the machine has halted."""
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.cut_power()
            raise MachineError(f"the machine did not end within {timeout_s:g} s\n{self._last_words()}") from None
        status = self.folder / "status"
        if not status.exists():
            raise MachineError(f"the machine ended without a result\n{self._last_words()}")
        return Outcome(int(status.read_text()), self._text("output"))

    def cut_power(self) -> None:
        """Kill the kernel and everything in it, at once; nothing happens where it has ended already."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def _last_words(self) -> str:
        return f"--- console\n{self._text('console')[-4000:]}\n--- output\n{self._text('output')[-4000:]}"

    def _text(self, name: str) -> str:
        path = self.folder / name
        return path.read_text(errors="replace") if path.exists() else ""


class Machine:
    """What is made once and serves any number of boots, one folder each."""

    def __init__(self, workshop: Path) -> None:
        workshop.mkdir(parents=True, exist_ok=True)
        self._environment = dict(os.environ)
        if shutil.which("cc"):
            preloaded = workshop / "xstate.so"
            source = Path(__file__).with_name("xstate.c")
            subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", preloaded, source, "-ldl"], check=True)
            self._environment["LD_PRELOAD"] = str(preloaded)

    def start(
        self,
        script: str,
        folder: Path,
        *,
        directory: Path = Path("/"),
        memory_mb: int = 1024,
        modules: Sequence[str] = CAN_MODULES,
        disks: Sequence[Path] = (),
    ) -> Running:
        """Boot a machine which runs `script` (sh) in `directory`; `disks` are its /dev/ubda, /dev/ubdb, …"""
        folder.mkdir(parents=True)
        (folder / "script").write_text(script)
        init = _INIT.format(modules=" ".join(modules), folder=folder, directory=directory)
        return self.boot(init, folder, memory_mb=memory_mb, disks=disks)

    def boot(
        self,
        init: str,
        folder: Path,
        *,
        memory_mb: int = 1024,
        disks: Sequence[Path] = (),
        lines: Sequence[socket.socket] = (),
        tap: Tap | None = None,
    ) -> Running:
        """Boot a machine whose first process is the script `init` (sh); modules are for `modprobe -d FOLDER`.

        Args:
            init: ends in `halt -f -p`, or never.
            folder: of the machine's own.
            memory_mb: of which the host gives what is used.
            disks: its /dev/ubda, /dev/ubdb, …
            lines: the host's ends are the caller's, these ones become /dev/tty1, /dev/tty2, …
            tap: what its eth0 is plugged into.

        """
        (folder / "lib").mkdir(parents=True)
        (folder / "lib/modules").symlink_to(MODULES)
        (folder / "init").write_text(init)
        (folder / "init").chmod(0o755)
        command = [KERNEL, f"mem={memory_mb}M", "rootfstype=hostfs", "root=none", "rw", f"init={folder}/init"]
        command += [f"uml_dir={folder}", "umid=machine", "con=null", "con0=fd:0,fd:1", "quiet"]
        command += [f"ubd{number}={disk}" for number, disk in enumerate(disks)]
        command += [f"con{number}=fd:{line.fileno()}" for number, line in enumerate(lines, 1)]
        within: list[str] = []
        if tap is not None:
            command.append(f"eth0=tuntap,{tap.name}")
            within = ["nsenter", f"--net={tap.namespace}"]
        console = (folder / "console").open("wb")
        process = subprocess.Popen(
            ["taskset", "--cpu-list", str(max(os.sched_getaffinity(0))), *within, *command],
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=subprocess.STDOUT,
            env=self._environment,
            start_new_session=True,
            pass_fds=[line.fileno() for line in lines],
        )
        return Running(process, folder, console)
