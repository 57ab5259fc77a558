# SPDX-License-Identifier: Apache-2.0
"""Whose frames are decoded where more arbitration ids are on the bus than there is room for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from agent.decode import ids as id_room
from agent.decode.decoder import Decoded, Decoder
from agent.decode.plan import Plan
from agent.model import EXTENDED, FrameBlock, MessageDefinition, SignalDefinition, split_group_key

if TYPE_CHECKING:
    from collections.abc import Sequence

REQUEST = MessageDefinition(
    "can0",
    0x18EA0000 | EXTENDED,
    "REQUEST",
    8,
    (SignalDefinition("WHAT", 0, 24), SignalDefinition("REST", 24, 8)),
    True,
)
ENGINE = MessageDefinition("can0", 0x18F00400 | EXTENDED, "ENGINE", 8, (SignalDefinition("SPEED", 24, 16),), True)
NAMED = MessageDefinition("can0", 0x123, "NAMED", 8, (SignalDefinition("A", 0, 8),))
FLOOD = 2_500
"""Frames of strangers in a block of 0.7 s."""


def block(can_ids: Sequence[int]) -> FrameBlock:
    rows = len(can_ids)
    return FrameBlock(
        np.arange(rows, dtype=np.int64),
        np.zeros(rows, np.uint8),
        np.array(can_ids, np.uint32),
        np.full(rows, 8, np.uint8),
        np.zeros(rows, np.uint8),
        np.ones((rows, 8), np.uint8),
    )


def strangers(first: int, count: int = FLOOD) -> list[int]:
    """Ids of REQUEST, from and to another address each (SAE J1939-21, 5.2: source and destination are not compared)."""
    return [0x00EA0000 | EXTENDED | (n & 0xFFFF) | (n >> 16 & 7) << 26 for n in range(first, first + count)]


def engines(count: int, frames: int) -> list[int]:
    """Frames of ENGINE, of so many senders in turn."""
    return [0x0CF00400 | EXTENDED | n % count for n in range(frames)]


def decoded_of(decoded: Decoded, message: int) -> int:
    """Frames of a message."""
    rows = np.diff(decoded.signals.row_start).tolist()
    keys = decoded.signals.group_key.tolist()
    return sum(count for key, count in zip(keys, rows, strict=True) if split_group_key(key)[0] == message)


def decoder(*, keep_unknown: bool = False) -> Decoder:
    kept = frozenset({"can0"}) if keep_unknown else frozenset[str]()
    return Decoder(Plan(("can0",), (REQUEST, ENGINE, NAMED), keep_unknown=kept))


@pytest.mark.parametrize("senders", [1, 20, 200])
def test_genuine_frames_are_decoded_after_ten_seconds_of_made_up_addresses(senders: int) -> None:
    agent = decoder()
    for n in range(15):
        agent.decode(block(strangers(n * FLOOD)))
    decoded = agent.decode(block(engines(senders, 2_000)))
    assert decoded_of(decoded, 1) == 2_000
    assert not decoded.unknown


@pytest.mark.parametrize("keep_unknown", [False, True])
def test_genuine_frames_are_decoded_between_made_up_addresses(keep_unknown: bool) -> None:
    agent = decoder(keep_unknown=keep_unknown)
    dice = np.random.default_rng(1)
    agent.decode(block(engines(20, 200)))
    for n in range(20):
        frames = [*strangers(n * FLOOD), *engines(20, 200), *[0x123] * 10]
        if keep_unknown:
            frames += (dice.integers(0, 1 << 29, FLOOD) | EXTENDED).tolist()
        decoded = agent.decode(block(dice.permutation(frames).tolist()))
        assert decoded_of(decoded, 1) == 200
        assert decoded_of(decoded, 2) == 10
        assert len(agent._ids.key) <= id_room.UNLISTED_MAX + 1
        assert len(decoded.signals) + sum(decoded.unknown.values()) == len(frames)
    assert decoded.outside > 0


def test_id_of_a_slow_sender_stays_through_a_flood() -> None:
    agent = decoder()
    slow = [0x0CF00417 | EXTENDED]
    for _ in range(2):
        agent.decode(block(slow))
    for n in range(14):  # ten seconds of nothing from it
        agent.decode(block([*strangers(n * FLOOD), *engines(20, 200)]))
    flood = strangers(14 * FLOOD, 8_000)
    assert decoded_of(agent.decode(block([*flood, *slow])), 1) == 1


def test_named_ids_never_give_way_and_have_a_slot_whenever_they_come() -> None:
    agent = decoder(keep_unknown=True)
    dice = np.random.default_rng(2)
    for _ in range(5):
        agent.decode(block((dice.integers(0, 1 << 29, FLOOD) | EXTENDED).tolist()))
    frames = [*(dice.integers(0, 1 << 29, FLOOD) | EXTENDED).tolist(), *[0x123] * 7]
    assert decoded_of(agent.decode(block(frames)), 2) == 7


def test_frames_that_there_is_no_room_for_are_counted_by_id(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(id_room, "UNLISTED_MAX", 8)
    agent = decoder()
    frames = [*strangers(0, 5), *strangers(0, 4), *strangers(100, 6)]
    decoded = agent.decode(block(frames))
    outside = strangers(103, 3)
    assert decoded.unknown == {(0, can_id): 1 for can_id in outside}
    assert decoded.outside == 3
    assert sorted(decoded.unknown_last.tolist()) == [12, 13, 14]
    decoded = agent.decode(block(outside))
    assert decoded_of(decoded, 0) == 3


def test_frames_that_are_looked_at_again_neither_meet_ids_nor_keep_them() -> None:
    agent = decoder()
    agent.decode(block(engines(2, 4)))
    frames = block([*engines(2, 4), *strangers(0, 3)])
    assert len(agent.decode_again(frames)) == 4
    assert len(agent._ids.key) == 2
    assert len(agent.decode(frames).signals) == 7
