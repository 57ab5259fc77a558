# SPDX-License-Identifier: Apache-2.0
"""Frames that a DBC file knows by their parameter group alone are found, and what matches them is told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from agent.decode.groups import IDS_MAX, GroupWatch
from agent.model import EXTENDED, FrameBlock, MessageDefinition

HEADING = 0x09F11201
"""NMEA 2000's vessel heading, PGN 127250, of source address 1 and priority 2."""


def message(can_id: int, *, j1939: bool = False, bus: str = "can0") -> MessageDefinition:
    return MessageDefinition(bus=bus, can_id=can_id, name="heading", length=8, signals=(), j1939=j1939)


def frames(*can_ids: int) -> FrameBlock:
    one = FrameBlock.empty()
    return replace(
        one,
        time_ns=np.zeros(len(can_ids), np.int64),
        bus=np.zeros(len(can_ids), np.uint8),
        can_id=np.array(can_ids, np.uint32),
    )


def hint(messages: list[MessageDefinition], *can_ids: int) -> str:
    watch = GroupWatch(["can0"])
    assert len(list(watch.passing([frames(*can_ids), frames()]))) == 2
    return watch.hint(messages, "--j1939")


def test_another_source_address_is_told() -> None:
    assert hint([message(HEADING & ~0xFF | 0xFE | EXTENDED)], HEADING | EXTENDED, HEADING | EXTENDED) == (
        "1 29-bit identifier fits a message by PGN alone, 2 frames (0x9F11201 is PGN 127250, as heading): "
        "--j1939 matches them"
    )


def test_nothing_is_told_of_what_is_decoded_or_means_something_else() -> None:
    file = message(HEADING & ~0xFF | 0xFE | EXTENDED)
    assert hint([file, message(HEADING | EXTENDED)], HEADING | EXTENDED) == ""
    assert hint([replace(file, j1939=True)], HEADING | EXTENDED) == ""
    assert hint([file], HEADING ^ 0x100 | EXTENDED, 0x112) == ""
    assert hint([replace(file, bus="can1")], HEADING | EXTENDED) == ""


def test_the_number_of_identifiers_is_bounded() -> None:
    watch = GroupWatch(["can0"])
    list(watch.passing([frames(*(number | EXTENDED for number in range(2 * IDS_MAX)))]))
    assert watch.hint([message(0xFE | EXTENDED)], "it").startswith("4,095 29-bit identifiers fit messages by PGN alone")
