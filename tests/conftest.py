# SPDX-License-Identifier: Apache-2.0
"""What holds for every test: in CI nothing is skipped, and without the recordings their tests are.

A whole folder of tests is spread over the machine's processors; the head unit's are not, whose tests share one machine
and go on where the one before ended, nor are single files, which are quicker without and print where one looks.
What a command has configured of logging does not outlast its test; what agents keep in memory lies in a folder of the
tests.
Figures that a test records (``record_property("figures", …)``) are printed in the end.

No garbage is collected while a failed test is reported: pytest formats finalizers' errors by ``ast.parse``, as it does
the failed test, and CPython before 3.11.8 and 3.12.2 ends with SystemError where one runs inside the other.

SIGINT ends the processes that tests start, even where a shell has started pytest in the background with it ignored.

A skip in CI (the environment variable CI is set) is a failure that repeats the reason: a tool that is missing
there would otherwise leave a promise unproven in silence. Elsewhere a test marked ``recordings`` is skipped
where the folder of recordings does not lie beside the project's.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest
import structlog

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

_Report = TypeVar("_Report", pytest.TestReport, pytest.CollectReport)
RECORDINGS = Path(__file__).parents[2] / "shared/data"
WORKERS_MAX = 4


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    root, before = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.configure(**before)
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture(autouse=True, scope="session")
def memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("memory")))
        yield


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    folders = [Path(argument).resolve() for argument in config.args]
    if any(not folder.is_dir() or "headunit" in folder.parts for folder in folders):
        return 0
    return min(len(os.sched_getaffinity(0)), WORKERS_MAX)


def pytest_configure() -> None:
    # What is ignored is inherited by what a process starts, what is handled is not.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for report in [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]:
        for name, text in report.user_properties:
            if name == "figures":
                terminalreporter.write_line(f"{report.nodeid}: {text}")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("recordings") and not RECORDINGS.is_dir():
        pytest.skip(f"no recordings in {RECORDINGS}")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    with no_collection():
        return refuse_skip((yield), in_ci=_in_ci())


@contextlib.contextmanager
def no_collection() -> Iterator[None]:
    """No finalizer of cyclic garbage runs inside."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return refuse_skip((yield), in_ci=_in_ci())


def refuse_skip(report: _Report, *, in_ci: bool) -> _Report:
    """The report, failed where it says skipped and nothing may be; an expected failure is no skip."""
    if in_ci and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        report.outcome = "failed"
        report.longrepr = f"{reason} (in CI nothing is skipped)"
    return report


def _in_ci() -> bool:
    return os.environ.get("CI", "").lower() not in ("", "0", "false")
