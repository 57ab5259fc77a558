# SPDX-License-Identifier: Apache-2.0
"""The Debian package of the sources as they are, built by `systemd/build-deb`, or taken where CANFERRY_DEB names it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[2]


def native_architecture() -> str:
    """Debian's name of this machine's architecture; "" where there is no dpkg."""
    try:
        asked = subprocess.run(["dpkg", "--print-architecture"], capture_output=True, text=True, check=True)
    except OSError:
        return ""
    return asked.stdout.strip()


def built_package(folder: Path, arch: str = "") -> Path:
    """Of an architecture, this machine's unless given; CANFERRY_DEB is of this machine's."""
    arch = arch or native_architecture()
    given = os.environ.get("CANFERRY_DEB")
    if given and arch == native_architecture():
        return Path(given)
    command = [f"{PROJECT}/systemd/build-deb", "--python", sys.executable, "--arch", arch, "--out", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return Path(done.stdout.strip().splitlines()[-1])
