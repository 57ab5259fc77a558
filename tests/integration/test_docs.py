# SPDX-License-Identifier: Apache-2.0
"""A drive of one's own, with the README's commands as they are written; the recording is of the demo's car."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.support.bench_page import begun, lay_out
from tests.support.documents import README, commands, section

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_readmes_commands_make_a_page_and_lines_of_a_drive(tmp_path: Path) -> None:
    wanted = section(README, "A drive of your own")
    report, replay, export = (line for line in commands(README) if f"    {line}\n" in wanted)
    lay_out(tmp_path)
    for line in (report, replay):
        with begun(tmp_path, line) as process:
            assert process.wait(120) == 0
    assert "ENGINE_RPM" in (tmp_path / "drive.html").read_text()
    with begun(tmp_path, export) as process:
        assert process.stdout is not None
        lines = [json.loads(line) for line in process.stdout]
        assert process.wait(60) == 0
    assert len(lines) == 10
    assert all(line["bus"] == "can0" for line in lines)
