# SPDX-License-Identifier: Apache-2.0
"""A recorded log as batches for the page."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from agent.cli.report_page.recorded import recorded
from agent.receiver.inventory import Inventory

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

DRIVES, APART_S = 50, 90_000


def test_log_of_many_short_drives_waits_for_no_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dbc, log, synced = tmp_path / "car.dbc", tmp_path / "drives.log", list[int]()
    dbc.write_text('VERSION ""\nBS_:\nBU_: ECU\nBO_ 256 M: 8 ECU\n SG_ S : 0|16@1+ (1,0) [0|0] "" ECU\n')
    log.write_text("".join(f"({n * APART_S + 1}.000000) can0 100#{n:016X}\n" for n in range(DRIVES)))
    monkeypatch.setattr(os, "fsync", synced.append)
    with recorded(log, [str(dbc)], None, None) as folder:
        inventory = Inventory([folder])
        assert (len(inventory.exportable("drives")), inventory.problems) == (DRIVES, [])
    assert not synced
    assert not folder.exists()
