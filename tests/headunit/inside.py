# SPDX-License-Identifier: Apache-2.0
"""Runs a folder of tests where there is what they need, and brings back what became of each of them.

Where this machine's kernel has it (SocketCAN, netem), in a network namespace of their own; else in User-Mode Linux.
They run once, in one pytest of their own.
"""

from __future__ import annotations

import ast
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from tests.headunit.machine import CAN_MODULES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.headunit.machine import Machine

ROOT = Path(__file__).parents[2]
RUN = """\
export CANFERRY_INSIDE=1 PYTHONDONTWRITEBYTECODE=1
ip link set lo up
export PYTEST_ADDOPTS="-q -p no:cacheprovider -o timeout={test_s} -o junit_logging=system-out"
exec {python} -m pytest {folder} --junitxml={report}
"""


@dataclass
class Result:
    """Of one test: what failed in it, empty where it passed; and what it printed."""

    problems: list[str] = field(default_factory=list)
    printed: str = ""


def names_inside(folder: Path) -> list[str]:
    """The tests of a folder, found without importing them."""
    return [
        node.name
        for path in sorted(folder.glob("test_*.py"))
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    ]


def has_vcan() -> bool:
    """True where this kernel has SocketCAN and we may make interfaces in a namespace of our own."""
    try:
        socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW).close()
    except OSError:
        return False
    if shutil.which("unshare") is None:
        return False
    attempt = ["unshare", "--net", "ip", "link", "add", "vcan0", "type", "vcan"]
    return subprocess.run(attempt, capture_output=True).returncode == 0


def run_inside(
    request: pytest.FixtureRequest,
    tests: Path,
    scratch: Path,
    *,
    test_s: float,
    all_s: float,
    here: bool | None = None,
    modules: Sequence[str] = CAN_MODULES,
) -> dict[str, Result]:
    """The results of all tests of a folder, by name; `scratch` is a new folder for what is needed and made.

    Each test may take `test_s`, all of them with the machine's boot `all_s`. They are run `here` where this kernel has
    what they need, SocketCAN unless said otherwise; else on a machine with these `modules`.
    """
    report = scratch / "report.xml"
    script = RUN.format(python=sys.executable, folder=tests, report=report, test_s=test_s)
    if has_vcan() if here is None else here:
        command = ["unshare", "--net", "sh", "-c", script]
        output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=all_s).stdout
    else:
        machine: Machine = request.getfixturevalue("machine")
        with machine.start(script, scratch / "machine", directory=ROOT, modules=modules) as running:
            output = running.wait(all_s).output
    if not report.exists():
        pytest.fail(f"the tests inside gave no report:\n{output}")
    return read_report(report, output)


def read_report(report: Path, output: str) -> dict[str, Result]:
    """Failures, errors and skips by test; what concerns no test of its own fails all of them."""
    results: dict[str, Result] = {}
    for case in ET.parse(report).iter("testcase"):
        result = results.setdefault(case.get("name", "").partition("[")[0], Result())
        for part in case:
            if part.tag == "system-out":
                result.printed += part.text or ""
            elif part.tag != "properties":
                result.problems.append(f"{part.tag}: {part.get('message')}\n{part.text}")
    if not results:
        pytest.fail(f"no test ran inside:\n{output}")
    return results


def repeat(name: str, results: dict[str, Result]) -> None:
    """Say here what the test said inside, and fail as it failed."""
    assert name in results, f"{name} did not run; what ran: {sorted(results)}"
    print(results[name].printed)
    if results[name].problems:
        pytest.fail("\n".join(results[name].problems), pytrace=False)
