# SPDX-License-Identifier: Apache-2.0
"""What somebody who looks costs is a matter of ids, not of frames: ratios, both sides measured here."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from agent.decode.decoder import Decoder
from agent.decode.plan import Plan
from agent.live.protocol import VERSION, Answer, Frames, encode
from agent.model import FrameBlock, MessageDefinition, SignalDefinition
from agent.pipeline.traffic import TrafficStatistics

if TYPE_CHECKING:
    from collections.abc import Callable

IDS, FEW, MANY = 100, 2_000, 200_000
"""Frames, of which the many are a hundred times the few."""
MORE_MAX = 5
"""The cost of looking at the many to that of looking at the few: 1, and 100 if it were a matter of frames."""
SIGNALS = tuple(SignalDefinition(f"S{number}", 8 * number, 8) for number in range(8))
ATTEMPTS = 15


def test_to_look_costs_the_same_however_many_frames_have_come() -> None:
    assert cheapest_s(looking(MANY)) < MORE_MAX * cheapest_s(looking(FEW))


def looking(count: int) -> Callable[[], None]:
    """A second's updates for somebody who looks, after so many frames."""
    decoder = Decoder(Plan(("can0",), [MessageDefinition("can0", 0x100 + n, f"M{n}", 8, SIGNALS) for n in range(IDS)]))
    numbers = np.arange(count)
    frames = FrameBlock(
        numbers * 50_000,
        np.zeros(count, np.uint8),
        (0x100 + numbers % IDS).astype(np.uint32),
        np.full(count, 8, np.uint8),
        np.zeros(count, np.uint8),
        np.random.default_rng(1).integers(0, 256, (count, 8), np.uint8),
    )
    heard = TrafficStatistics(1)
    heard.update(frames, decoder.decode(frames))

    def look() -> None:
        for _ in range(4):
            found, _ = heard.changes(0, 2000)
            assert len(found) == IDS
            encode(Answer(version=VERSION, frames=Frames(time_ns=1, rows=tuple(found))))

    return look


def cheapest_s(work: Callable[[], object]) -> float:
    """Processor time of this thread, of the attempt that was disturbed least."""
    took = []
    for _ in range(ATTEMPTS):
        begun_s = time.thread_time()
        work()
        took.append(time.thread_time() - begun_s)
    return min(took)
