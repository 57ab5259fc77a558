# SPDX-License-Identifier: Apache-2.0
"""What the demo's cloud counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from agent.cli.demo_run import cloud
from agent.receiver.lines import json_lines
from tests.support.samples import MS, START, batch, steer, store

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_whoever_waits_for_samples_finds_their_frames_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = store(tmp_path, 0, batch(0, [steer(START + row * MS, row) for row in range(5)]))
    watched = cloud.Cloud(tmp_path, 1)
    seen: list[tuple[int, int]] = []

    def while_counting(part: Any) -> Any:
        seen.append((watched.received.samples, watched.received.frames))
        return json_lines(part)

    monkeypatch.setattr(cloud, "json_lines", while_counting)
    watched._count(path)
    assert seen == [(0, 0)]
    assert (watched.received.samples, watched.received.frames, watched.received.batches) == (15, 5, 1)
