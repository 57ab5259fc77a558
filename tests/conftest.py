# SPDX-License-Identifier: Apache-2.0
"""What holds for every test: in CI nothing is skipped, and without the recordings their tests are.

A skip in CI (the environment variable CI is set) is a failure that repeats the reason: a tool that is missing
there would otherwise leave a promise unproven in silence. Elsewhere a test marked ``recordings`` is skipped
where the folder of recordings does not lie beside the project's.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator

_Report = TypeVar("_Report", pytest.TestReport, pytest.CollectReport)
RECORDINGS = Path(__file__).parents[2] / "shared/data"


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("recordings") and not RECORDINGS.is_dir():
        pytest.skip(f"no recordings in {RECORDINGS}")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return refuse_skip((yield), in_ci=_in_ci())


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
