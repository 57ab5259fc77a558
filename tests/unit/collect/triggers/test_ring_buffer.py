# SPDX-License-Identifier: Apache-2.0
"""The ring of raw frames: what it holds, how much memory that takes."""

from __future__ import annotations

import numpy as np
import pytest

from agent.collect.triggers.windows import Ring, frame_bytes
from agent.model import FrameBlock

CAPACITY = 1 << 20


def frames(first: int, count: int, width: int = 8) -> FrameBlock:
    """Numbered in their times, identifiers and payloads."""
    numbers = np.arange(first, first + count)
    data = np.repeat(numbers.astype(np.uint8)[:, np.newaxis], width, axis=1)
    length = np.full(count, width, np.uint8)
    return FrameBlock(numbers, numbers.astype(np.uint8), numbers.astype(np.uint32), length, length, data)


def held(ring: Ring, since: int = 0) -> list[int]:
    """The numbers of the frames that are held, each found whole."""
    found, rebased = ring.since(since)
    assert (found.data[:, 0] == found.can_id.astype(np.uint8)).all()
    assert (found.bus == found.can_id.astype(np.uint8)).all()
    assert (found.time_ns == found.can_id).all()
    assert (rebased == found.time_ns).all()
    return found.can_id.tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize("block", [7, 164, 5000])
def test_the_latest_frames_are_held_in_order_whatever_the_blocks(block: int) -> None:
    ring, count = Ring(CAPACITY), 3 * CAPACITY // frame_bytes(8)
    for first in range(0, count, block):
        part = frames(first, min(block, count - first))
        ring.append(part, part.time_ns)
    numbers = held(ring)
    assert numbers == list(range(numbers[0], count))
    assert len(numbers) * frame_bytes(8) > CAPACITY * 0.9
    assert held(ring, count - 10) == list(range(count - 10, count))


@pytest.mark.parametrize("width", [8, 64])
def test_a_full_ring_takes_what_is_configured(width: int) -> None:
    ring, count = Ring(CAPACITY), 2 * CAPACITY // frame_bytes(width)
    for first in range(0, count, 100):
        part = frames(first, 100, width)
        ring.append(part, part.time_ns)
    assert CAPACITY * 0.95 < ring.size_bytes <= CAPACITY


def test_wide_frames_make_room_for_themselves_and_leave_no_bytes_behind() -> None:
    ring = Ring(CAPACITY)
    for part in (frames(0, 10), frames(10, 10, 64), frames(20, 10)):
        ring.append(part, part.time_ns)
    found, _ = ring.since(0)
    assert found.data.shape == (30, 64)
    assert not found.data[20:, 8:].any()
    assert held(ring) == list(range(30))


def test_what_was_asked_for_stays_when_the_ring_goes_on() -> None:
    ring = Ring(CAPACITY)
    ring.append(frames(0, 100), np.arange(100))
    found, rebased = ring.since(0)
    for first in range(100, 80_000, 100):
        ring.append(frames(first, 100), np.arange(first, first + 100))
    assert found.can_id.tolist() == rebased.tolist() == list(range(100))
