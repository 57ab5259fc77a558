# SPDX-License-Identifier: Apache-2.0
"""The summary of `canferry replay` for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.cli.replay import _print
from agent.config.priorities import Priority
from agent.pipeline.packer import PackerCounters

if TYPE_CHECKING:
    import pytest


def test_summary_of_several_priorities_has_a_line_for_each(capsys: pytest.CaptureFixture[str]) -> None:
    counters = PackerCounters()
    counters.of(Priority.CRITICAL).batches = 3
    counters.of(Priority.NORMAL).batches = 1234
    _print(counters, {}, as_json=False)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[-2:]] == [["critical", "batches", "3"], ["normal", "batches", "1,234"]]
