#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the package is made of, pinned to the byte: writes `requirements.lock` and `build.lock` beside this file.

    systemd/lock.py            resolve what pyproject.toml asks for anew, and write both
    systemd/lock.py --check    write nothing: show that every dependency has a wheel for every target, by its hash

Promise: `requirements.lock` names every dependency of the agent, one version for all targets, with the hashes of the
wheels that pip takes on each of `PYTHONS` x `MACHINES`; `build.lock` does the same for what builds the agent's own
wheel. Only wheels: nothing is ever compiled, so what is not there as a wheel for a target is an error here and not on
a head unit.
Limits: needs pip, and one package index: pip's own, or the one that PIP_INDEX_URL names. Further indexes and folders
that pip is set up with are left out, so that the hashes are those which everybody gets.
Failure: one line on stderr, exit status 1; files are left as they were.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import tomllib
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

HERE = Path(__file__).resolve().parent
PYTHONS = ("3.11", "3.12", "3.13")
MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
"""Debian's names of the architectures, and the wheels'."""
GLIBC = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014")
"""What a wheel may be built against; Debian 12 has glibc 2.36."""
_HEAD = "# SPDX-License-Identifier: Apache-2.0\n# Written by systemd/lock.py, from pyproject.toml; not by hand.\n"


class LockError(Exception):
    """What the lock promises cannot be had; the text is one line."""


@dataclass(frozen=True, slots=True)
class Wheel:
    """One file that pip would install."""

    name: str
    version: str
    file: str
    sha256: str


def main() -> int:
    """Write or check both files; the result is the exit status."""
    parser = argparse.ArgumentParser(description="Pins what the package is made of.")
    parser.add_argument("--check", action="store_true", help="write nothing; show the wheels of every target")
    args = parser.parse_args()
    project = tomllib.loads((HERE.parent / "pyproject.toml").read_text(encoding="utf-8"))
    wanted = {
        HERE / "requirements.lock": project["project"]["dependencies"]
        + project["project"]["optional-dependencies"]["modemmanager"],
        HERE / "build.lock": project["build-system"]["requires"],
    }
    try:
        if args.check:
            for file in wanted:
                print_table(file, [wheels_of(["-r", str(file)], *target, locked=True) for target in targets()])
        else:
            texts = {file: lock(requirements) for file, requirements in wanted.items()}
            for file, text in texts.items():
                file.write_text(text, encoding="utf-8")
                print(f"{file}: {text.count('==')} dependencies")
    except LockError as error:
        print(f"lock.py: {error}", file=sys.stderr)
        return 1
    return 0


def targets() -> list[tuple[str, str]]:
    """Python's version and the machine, of every target."""
    return [(python, machine) for python in PYTHONS for machine in MACHINES.values()]


def lock(requirements: Sequence[str]) -> str:
    """The text of a lock file: the versions that the first target gets, with every target's hashes."""
    first = wheels_of(requirements, *targets()[0])
    pinned = [f"{wheel.name}=={wheel.version}" for wheel in first]
    hashes: dict[str, set[str]] = defaultdict(set)
    for target in targets():
        wheels = wheels_of(pinned, *target)
        if extra := {wheel.name for wheel in wheels} - {wheel.name for wheel in first}:
            raise LockError(f"{' '.join(sorted(extra))}: needed by Python {target[0]} alone; accepted: one set for all")
        for wheel in wheels:
            hashes[f"{wheel.name}=={wheel.version}"].add(wheel.sha256)
    blocks = (
        " \\\n".join([pin, *(f"    --hash=sha256:{value}" for value in sorted(hashes[pin]))]) for pin in sorted(pinned)
    )
    return _HEAD + "\n".join(blocks) + "\n"


def wheels_of(arguments: Sequence[str], python: str, machine: str, *, locked: bool = False) -> list[Wheel]:
    """What pip would install there, by name; `locked` insists on the hashes in the requirements."""
    with tempfile.TemporaryDirectory(prefix="canferry-lock-") as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--quiet", "--disable-pip-version-check"]
        command += ["--dry-run", "--ignore-installed", "--target", folder, "--report", str(report)]
        command += ["--only-binary", ":all:", "--python-version", python, *platforms(machine)]
        command += ["--require-hashes"] if locked else []
        done = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False, env=one_index())
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or [done.stderr.strip()]
            raise LockError(f"Python {python} on {machine}: {lines[-1]}")
        return sorted(map(_wheel, json.loads(report.read_text(encoding="utf-8"))["install"]), key=lambda w: w.name)


def one_index() -> dict[str, str]:
    """The environment for pip: its configuration files and further sources left out."""
    apart = {"PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS"}
    return {**{key: value for key, value in os.environ.items() if key not in apart}, "PIP_CONFIG_FILE": os.devnull}


def platforms(machine: str) -> list[str]:
    """pip's options for the wheels of a machine."""
    return [word for glibc in GLIBC for word in ("--platform", f"{glibc}_{machine}")]


def _wheel(entry: dict[str, Any]) -> Wheel:
    metadata, download = entry["metadata"], entry["download_info"]
    if not download["url"].startswith("https:"):
        raise LockError(f"{metadata['name']}: found in a folder of this machine; accepted: the package index")
    name = metadata["name"].lower().replace("_", "-").replace(".", "-")
    file = download["url"].rsplit("/", 1)[1]
    return Wheel(name, metadata["version"], file, download["archive_info"]["hashes"]["sha256"])


def print_table(file: Path, found: Iterable[Sequence[Wheel]]) -> None:
    """One line a dependency, one column a target: what the wheel is built for."""
    rows: dict[str, list[str]] = defaultdict(list)
    for wheels in found:
        for wheel in wheels:
            rows[f"{wheel.name} {wheel.version}"].append(_built_for(wheel.file))
    columns = [f"{python} {machine}" for python, machine in targets()]
    print(f"{file.name:<28}" + "".join(f"{column:<16}" for column in columns))
    for name, row in sorted(rows.items()):
        print(f"{name:<28}" + "".join(f"{kind:<16}" for kind in row))


def _built_for(file: str) -> str:
    """A wheel's own Python and C library, such as "cp311 2_28"; "any" for pure Python."""
    python, abi, platform = file.removesuffix(".whl").split("-")[-3:]
    if platform == "any":
        return "any"
    oldest = min(part.split("_")[0:3] for part in platform.split("."))
    return f"{abi if abi == 'abi3' else python} {'_'.join(oldest[1:]) or oldest[0].removeprefix('manylinux')}"


if __name__ == "__main__":
    sys.exit(main())
