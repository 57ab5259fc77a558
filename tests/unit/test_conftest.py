# SPDX-License-Identifier: Apache-2.0
"""In CI a skip is a failure; a failed test is reported whatever it leaves; an interrupt reaches its processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest

from tests.conftest import refuse_skip

ROOT = Path(__file__).parents[2]
PYTEST = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")


def report(outcome: Literal["passed", "failed", "skipped"]) -> pytest.TestReport:
    reason = ("test_it.py", 7, "Skipped: no tool") if outcome == "skipped" else None
    return pytest.TestReport("test_it.py::test_it", ("test_it.py", 7, "test_it"), {}, outcome, reason, "setup")


def test_a_skip_in_ci_is_a_failure_that_repeats_the_reason() -> None:
    refused = refuse_skip(report("skipped"), in_ci=True)
    assert refused.failed
    assert "no tool" in str(refused.longrepr)


def test_a_skip_elsewhere_is_a_skip() -> None:
    assert refuse_skip(report("skipped"), in_ci=False).skipped


def test_an_expected_failure_is_no_skip() -> None:
    expected = report("skipped")
    expected.wasxfail = "known"
    assert refuse_skip(expected, in_ci=True).skipped


def test_what_passed_has_passed() -> None:
    assert refuse_skip(report("passed"), in_ci=True).passed


FAILING = """
import gc
class Unclosed:
    def __del__(self):
        raise ValueError("unclosed")
def test_it():
    gc.collect()
    gc.disable()
    for _ in range(300):
        one = Unclosed()
        one.self = one
    gc.enable()
    assert sum([1, 2]) == 4
""" + "".join(f"def f{number}(a, b): return [a + b, {{a: b}}, (a, {number})]\n" for number in range(400))


def test_a_failed_test_that_leaves_garbage_is_reported(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text("from tests.conftest import pytest_runtest_makereport")
    (tmp_path / "test_it.py").write_text(FAILING)
    command = (*PYTEST, "--rootdir", tmp_path, tmp_path)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert "SystemError" not in done.stdout
    assert "sum([1, 2]) == 4" in done.stdout


INTERRUPTIBLE = """
import subprocess, sys
def test_it():
    program = "import signal; raise SystemExit(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
"""


def test_processes_of_tests_in_the_background_are_interruptible(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text("from tests.conftest import pytest_configure")
    (tmp_path / "test_it.py").write_text(INTERRUPTIBLE)
    done = subprocess.run(
        ["sh", "-c", 'trap "" INT; exec "$@"', "sh", *PYTEST, "--rootdir", tmp_path, tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
