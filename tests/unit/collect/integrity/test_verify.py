# SPDX-License-Identifier: Apache-2.0
"""What is found of a message's counter and checksum, and what is dropped."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from agent.collect.block_view import BlockView
from agent.collect.integrity.protection import protections_of
from agent.collect.integrity.verify import Finding, Integrity, IntegrityCounters, Verdict
from agent.collect.signal_index import SignalIndex
from agent.config.integrity import IntegrityConfig
from agent.decode.decoder import Decoder
from agent.decode.plan import Plan
from agent.model import EventKind, FrameBlock, MessageDefinition, SignalDefinition

MS = 10**6
SIGNALS = (SignalDefinition("CHECKSUM", 0, 8), SignalDefinition("COUNTER", 8, 4), SignalDefinition("X", 16, 8))
MESSAGES = (
    MessageDefinition("can0", 0x100, "BRAKE", 3, SIGNALS),
    MessageDefinition("can0", 0x200, "STEER", 3, SIGNALS),
    MessageDefinition("can0", 0x300, "DOOR", 3, (SignalDefinition("OPEN", 0, 8),)),
)
COUNTED = IntegrityConfig(message="BRAKE", counter="COUNTER", counter_max=13)
BOTH = IntegrityConfig(message="*", counter="COUNTER", checksum="CHECKSUM", kind="sum")

Frame = tuple[int, int, bytes]
"""Time in ms, arbitration id, payload."""


def brake(at_ms: int, counter: int, *, can_id: int = 0x100, off: int = 0) -> Frame:
    return at_ms, can_id, bytes([(counter + 7 + off) & 0xFF, counter, 7])


class Bench:
    """Verifies frames as they come."""

    def __init__(self, *configs: IntegrityConfig) -> None:
        self.decoder = Decoder(Plan(("can0",), MESSAGES))
        self.signal_index = SignalIndex(self.decoder.plan)
        self.integrity = Integrity(self.signal_index, protections_of(MESSAGES, configs))

    def verify(self, *frames: Frame) -> Verdict:
        zeros = np.zeros(len(frames), np.uint8)
        data = np.zeros((len(frames), 8), np.uint8)
        for row, (_, _, payload) in enumerate(frames):
            data[row, : len(payload)] = np.frombuffer(payload, np.uint8)
        block = FrameBlock(
            np.array([at_ms * MS for at_ms, _, _ in frames], np.int64),
            zeros,
            np.array([can_id for _, can_id, _ in frames], np.uint32),
            np.array([len(payload) for _, _, payload in frames], np.uint8),
            zeros,
            data,
        )
        return self.integrity.verify(
            BlockView(self.signal_index, block, self.decoder.decode(block).signals, block.time_ns, 0)
        )


def rows(mask: Any) -> list[int]:
    return [] if mask is None else [int(row) for row in np.flatnonzero(mask)]


def test_a_jump_of_the_counter_tells_how_many_frames_are_missing() -> None:
    bench = Bench(COUNTED)
    assert bench.verify(brake(0, 11), brake(10, 12), brake(20, 2), brake(30, 3)).findings == [
        Finding(EventKind.MISSING, 20 * MS, "can0.BRAKE", 0x100, 3)
    ]
    assert bench.verify(brake(40, 6), brake(50, 7)).findings == [
        Finding(EventKind.MISSING, 40 * MS, "can0.BRAKE", 0x100, 2)
    ]
    assert bench.integrity.counters() == {"can0.BRAKE": IntegrityCounters(frames=6, missing=5)}


def test_a_counter_that_stands_still_is_repeated_one_beyond_its_maximum_is_wrong() -> None:
    bench = Bench(COUNTED)
    verdict = bench.verify(brake(0, 3), brake(10, 3), brake(20, 3), brake(30, 14), brake(40, 5))
    assert verdict.findings == [
        Finding(EventKind.WRONG, 30 * MS, "can0.BRAKE", 0x100, 1),
        Finding(EventKind.REPEATED, 10 * MS, "can0.BRAKE", 0x100, 2),
    ]
    assert rows(verdict.wrong) == [3]


def test_a_frame_with_a_wrong_checksum_is_marked_and_is_not_missing() -> None:
    bench = Bench(BOTH)
    verdict = bench.verify(
        brake(0, 1), brake(1, 9, can_id=0x200), brake(10, 2, off=1), brake(11, 10, can_id=0x200), brake(20, 3)
    )
    assert rows(verdict.wrong) == [1]
    assert verdict.dropped is None
    assert verdict.findings == [Finding(EventKind.WRONG, 10 * MS, "can0.BRAKE", 0x100, 1)]
    assert bench.integrity.counters() == {
        "can0.BRAKE": IntegrityCounters(frames=3, wrong=1),
        "can0.STEER": IntegrityCounters(frames=2),
    }


def test_wrong_frames_at_a_blocks_end_count_as_come_in_the_next_one() -> None:
    bench = Bench(BOTH)
    bench.verify(brake(0, 1), brake(10, 2, off=1))
    bench.verify(brake(20, 3, off=1))
    assert bench.verify(brake(30, 6)).findings == [Finding(EventKind.MISSING, 30 * MS, "can0.BRAKE", 0x100, 2)]


def test_only_what_is_said_to_be_dropped_is() -> None:
    keeps = IntegrityConfig(message="STEER", checksum="CHECKSUM", kind="sum")
    drops = IntegrityConfig(message="BRAKE", checksum="CHECKSUM", kind="sum", drop=True)
    verdict = Bench(keeps, drops).verify(brake(0, 1, off=1), brake(1, 1), brake(2, 1, can_id=0x200, off=1))
    assert (rows(verdict.wrong), rows(verdict.dropped)) == ([0, 2], [0])


@pytest.mark.parametrize("payload", [b"", b"\x07"])
def test_a_frame_too_short_for_its_counter_and_checksum_is_passed_over(payload: bytes) -> None:
    bench = Bench(COUNTED)
    bench.verify(brake(0, 1))
    assert bench.verify((10, 0x100, payload)) == Verdict()
    assert bench.verify(brake(20, 2)) == Verdict()


def test_messages_without_protection_and_empty_blocks_find_nothing() -> None:
    bench = Bench(COUNTED)
    assert bench.verify() == Verdict()
    assert bench.verify((0, 0x300, b"\x01"), brake(1, 1, can_id=0x200)) == Verdict()
    assert bench.integrity.counters() == {}
