# SPDX-License-Identifier: Apache-2.0
"""In CI a skip is a failure."""

from __future__ import annotations

from typing import Literal

import pytest

from tests.conftest import refuse_skip


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
