# SPDX-License-Identifier: Apache-2.0
"""Runs the tests of `vcan/` where there is SocketCAN, and reports each of them here.

Where this machine's kernel has SocketCAN, in a network namespace of their own; else in User-Mode Linux. They
run once, in one pytest of their own; what each of them says in case of failure is repeated here.
"""

from __future__ import annotations

import ast
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

if TYPE_CHECKING:
    from tests.headunit.machine import Machine

ROOT = Path(__file__).parents[2]
INSIDE = Path(__file__).with_name("vcan")
BOOT_AND_RUN_S = 280
RUN = """\
export CANFERRY_ON_VCAN=1 PYTHONDONTWRITEBYTECODE=1
exec {python} -m pytest {inside} --junitxml={report} -q -p no:cacheprovider -o timeout=100
"""


def names_inside() -> list[str]:
    """The tests of `vcan/`, found without importing them."""
    return [
        node.name
        for path in sorted(INSIDE.glob("test_*.py"))
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


@pytest.fixture(scope="session")
def results(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """By test inside: what failed in it, empty where it passed."""
    folder = tmp_path_factory.mktemp("vcan")
    report = folder / "report.xml"
    script = RUN.format(python=sys.executable, inside=INSIDE, report=report)
    if has_vcan():
        command = ["unshare", "--net", "sh", "-c", script]
        output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout
    else:
        machine: Machine = request.getfixturevalue("machine")
        with machine.start(script, folder / "machine", directory=ROOT) as running:
            output = running.wait(BOOT_AND_RUN_S).output
    if not report.exists():
        pytest.fail(f"the tests inside gave no report:\n{output}")
    return read_report(report, output)


def read_report(report: Path, output: str) -> dict[str, list[str]]:
    """Failures, errors and skips by test; what concerns no test of its own fails all of them."""
    outcomes: dict[str, list[str]] = {}
    for case in ET.parse(report).iter("testcase"):
        name = case.get("name", "").partition("[")[0]
        problems = [f"{part.tag}: {part.get('message')}\n{part.text}" for part in case if part.tag != "properties"]
        outcomes.setdefault(name, []).extend(problems)
    if not outcomes:
        pytest.fail(f"no test ran inside:\n{output}")
    return outcomes


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", names_inside())
def test_on_vcan(name: str, results: dict[str, list[str]]) -> None:
    assert name in results, f"{name} did not run; what ran: {sorted(results)}"
    if results[name]:
        pytest.fail("\n".join(results[name]), pytrace=False)
