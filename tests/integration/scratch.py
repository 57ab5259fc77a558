# SPDX-License-Identifier: Apache-2.0
"""A system that is thrown away: this machine's own root beneath a layer of memory, in a mount namespace of its own.

Promise: what is run in it sees the whole system and may change all of it; the machine itself stays as it is, and with
the `Scratch` every change is gone. Only processes and network are shared.
Limits: Linux, as root, with overlayfs; what is not on the root file system is not seen. The layer holds `SIZE`.
"""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path
from typing import Self

SIZE = "1G"
_MAKE = """\
set -e
mount -t tmpfs -o size={size} tmpfs {folder}
mkdir {folder}/upper {folder}/work {folder}/root
mount -t overlay -o lowerdir=/,upperdir={folder}/upper,workdir={folder}/work overlay {folder}/root
mount --bind /dev {folder}/root/dev
mount -t proc proc {folder}/root/proc
mkdir -p {folder}/root/run
mount -t tmpfs tmpfs {folder}/root/run
echo ready
exec cat
"""


def missing() -> str | None:
    """What the machine lacks for one, in one sentence; None: nothing."""
    if os.geteuid() != 0:
        return "a system to throw away is made by root alone"
    if "\toverlay\n" not in Path("/proc/filesystems").read_text():
        return "this kernel has no overlayfs"
    return None


class Scratch:
    """The system, from entering to leaving; `path` is its root, seen from outside."""

    def __init__(self, folder: Path) -> None:
        script = _MAKE.format(folder=shlex.quote(str(folder)), size=SIZE)
        self._root = folder / "root"
        self._keeper = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    @property
    def path(self) -> Path:
        """Through the keeper's namespace."""
        return Path(f"/proc/{self._keeper.pid}/root") / self._root.relative_to("/")

    def __enter__(self) -> Self:
        assert self._keeper.stdout is not None
        if self._keeper.stdout.readline() != "ready\n":
            raise OSError("the system could not be mounted")
        return self

    def __exit__(self, *_: object) -> None:
        self._keeper.communicate()

    def run(self, script: str, *, status: int | None = 0) -> str:
        """What a script (sh) prints; it has to exit with `status`, unless that is None."""
        command = ["nsenter", f"--mount=/proc/{self._keeper.pid}/ns/mnt", "chroot", str(self._root), "sh", "-c", script]
        environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C.UTF-8"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        output = done.stdout + done.stderr
        assert status in (None, done.returncode), f"{script}: status {done.returncode}\n{output}"
        return output

    def listing(self, folder: str) -> list[str]:
        """Every path below a folder."""
        return sorted(self.run(f"find {shlex.quote(folder)}").splitlines())
