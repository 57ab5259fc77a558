# SPDX-License-Identifier: Apache-2.0
"""What somebody who looks costs is a matter of ids, not of frames: a ratio to decoding, both measured here."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from agent.decode.decoder import Decoder
from agent.decode.plan import Plan
from agent.live.heard import Heard
from agent.live.protocol import VERSION, Answer, Frames, encode, encode_rows
from agent.model import FrameBlock, MessageDefinition, SignalDefinition

if TYPE_CHECKING:
    from collections.abc import Callable

FRAMES_S, IDS, UPDATES_S = 20_000, 100, 4
SHARE_MAX = 0.9
"""Of decoding a second of frames: a second of updates. Each frame decoded once more would be 1."""
ATTEMPTS = 15


def test_updates_of_a_second_cost_less_than_decoding_it_once_more() -> None:
    signals = tuple(SignalDefinition(f"S{number}", 8 * number, 8) for number in range(8))
    decoder = Decoder(Plan(("can0",), [MessageDefinition("can0", 0x100 + n, f"M{n}", 8, signals) for n in range(IDS)]))
    numbers = np.arange(FRAMES_S)
    frames = FrameBlock(
        numbers * 50_000,
        np.zeros(FRAMES_S, np.uint8),
        (0x100 + numbers % IDS).astype(np.uint32),
        np.full(FRAMES_S, 8, np.uint8),
        np.zeros(FRAMES_S, np.uint8),
        np.random.default_rng(1).integers(0, 256, (FRAMES_S, 8), np.uint8),
    )
    heard = Heard(1)
    heard.take(frames, decoder.decode(frames))

    def look() -> None:
        for _ in range(UPDATES_S):
            found, _ = heard.changes(0, 2000)
            assert len(found) == IDS
            encode(Answer(version=VERSION, frames=Frames(time_ns=1, rows=encode_rows(found))))

    assert cheapest_s(look) < SHARE_MAX * cheapest_s(lambda: decoder.decode(frames))


def cheapest_s(work: Callable[[], object]) -> float:
    """Processor time of this thread, of the attempt that was disturbed least."""
    took = []
    for _ in range(ATTEMPTS):
        begun_s = time.thread_time()
        work()
        took.append(time.thread_time() - begun_s)
    return min(took)
