# SPDX-License-Identifier: Apache-2.0
"""Decoding blocks: what the property test against cantools does not reach."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pytest

from agent.decode import ids as id_room
from agent.decode import plan as room
from agent.decode import walk as walks
from agent.decode.decoder import Decoded, Decoder
from agent.decode.plan import Defect, Field, Plan
from agent.model import EXTENDED, FrameBlock, MessageDefinition, SignalDefinition, group_key, split_group_key

if TYPE_CHECKING:
    from collections.abc import Sequence

INTEL = SignalDefinition("I", 4, 12)
MOTOROLA = SignalDefinition("M", 23, 12, little_endian=False)
PLAIN = MessageDefinition("can0", 0x10, "PLAIN", 4, (INTEL, MOTOROLA))
MODES = MessageDefinition(
    "can0",
    0x20,
    "MODES",
    8,
    (
        SignalDefinition("Mode", 0, 8, multiplexor=True),
        SignalDefinition("Always", 8, 8),
        SignalDefinition("One", 16, 16, selected_by="Mode", selected_when=((1, 1),)),
        SignalDefinition("Many", 16, 8, selected_by="Mode", selected_when=((2, 9), (20, 29))),
        SignalDefinition("Inner", 24, 8, multiplexor=True, selected_by="Mode", selected_when=((3, 3),)),
        SignalDefinition("Deep", 32, 8, selected_by="Inner", selected_when=((5, 5),)),
    ),
)


def block(frames: Sequence[tuple[int, bytes]], bus: Sequence[int] | None = None) -> FrameBlock:
    width = 64 if any(len(data) > 8 for _, data in frames) else 8
    data = np.zeros((len(frames), width), np.uint8)
    for row, (_, payload) in enumerate(frames):
        data[row, : len(payload)] = list(payload)
    return FrameBlock(
        np.arange(len(frames), dtype=np.int64),
        np.array(bus or [0] * len(frames), np.uint8),
        np.array([can_id for can_id, _ in frames], np.uint32),
        np.array([len(payload) for _, payload in frames], np.uint8),
        np.zeros(len(frames), np.uint8),
        data,
    )


def table(decoded: Decoded, plan: Plan) -> dict[tuple[int, int], dict[int, list[int]]]:
    """(bus, id) to signal index to values."""
    signals = decoded.signals
    found: dict[tuple[int, int], dict[int, list[int]]] = {}
    for key in signals.group_key.tolist():
        _, bus, can_id = split_group_key(key)
        found[bus, can_id] = {}
    for column, group in enumerate(signals.column_group.tolist()):
        _, bus, can_id = split_group_key(int(signals.group_key[group]))
        values = signals.values[signals.column_start[column] : signals.column_start[column + 1]]
        found[bus, can_id][int(signals.column_signal[column])] = values.tolist()
    return found


def test_intel_and_motorola_fields_are_read_where_the_dbc_says() -> None:
    plan = Plan(("can0",), (PLAIN,))
    decoded = Decoder(plan).decode(block([(0x10, bytes([0x34, 0x12, 0xAB, 0xCD]))]))
    assert table(decoded, plan) == {(0, 0x10): {0: [0x123], 1: [0xABC]}}


def test_eleven_and_twenty_nine_bit_ids_are_never_confused() -> None:
    other = MessageDefinition("can0", 0x10 | EXTENDED, "OTHER", 1, (SignalDefinition("X", 0, 8),))
    plan = Plan(("can0",), (PLAIN, other))
    decoded = Decoder(plan).decode(block([(0x10 | EXTENDED, b"\x07"), (0x10, bytes(4)), (0x11 | EXTENDED, b"\x01")]))
    assert table(decoded, plan)[0, 0x10 | EXTENDED] == {0: [7]}
    assert decoded.unknown == {(0, 0x11 | EXTENDED): 1}


def test_the_same_id_on_two_buses_is_two_messages() -> None:
    other = MessageDefinition("can1", 0x10, "OTHER", 1, (SignalDefinition("X", 0, 8),))
    plan = Plan(("can0", "can1"), (PLAIN, other))
    decoded = Decoder(plan).decode(block([(0x10, bytes(4)), (0x10, b"\x09"), (0x99, b"")], bus=[0, 1, 1]))
    assert table(decoded, plan)[1, 0x10] == {0: [9]}
    assert decoded.unknown == {(1, 0x99): 1}


def test_a_short_frame_gives_the_signals_that_fit_and_is_counted() -> None:
    plan = Plan(("can0",), (PLAIN,))
    decoded = Decoder(plan).decode(block([(0x10, b"\xff\xff"), (0x10, bytes(4)), (0x10, b"\xff"), (0x10, bytes(3))]))
    assert table(decoded, plan) == {(0, 0x10): {0: [0xFFF, 0, 0], 1: [0]}} or decoded.signals.shape.tolist()
    assert [decoded.signals.shapes[shape] for shape in decoded.signals.shape] == [(0,), (0, 1), (), (0,)]
    assert decoded.partial == {(group_key(0, 0, 0x10), Defect.SHORT): 3}


def test_multiplexed_signals_are_there_only_where_selected() -> None:
    plan = Plan(("can0",), (MODES,))
    frames = [
        (0x20, bytes([1, 10, 0x34, 0x12, 0, 0, 0, 0])),
        (0x20, bytes([3, 11, 0x55, 5, 0x66, 0, 0, 0])),
        (0x20, bytes([25, 12, 0x77, 0, 0, 0, 0, 0])),
        (0x20, bytes([3, 13, 0x88, 6, 0x99, 0, 0, 0])),
        (0x20, bytes([200, 14, 0xAA, 0, 0, 0, 0, 0])),
    ]
    decoded = Decoder(plan).decode(block(frames))
    assert table(decoded, plan) == {
        (0, 0x20): {
            0: [1, 3, 25, 3, 200],
            1: [10, 11, 12, 13, 14],
            2: [0x1234],
            3: [0x55, 0x77, 0x88],
            4: [5, 6],
            5: [0x66],
        }
    }
    assert decoded.partial == {(group_key(0, 0, 0x20), Defect.MULTIPLEXOR): 2}


def test_values_learned_in_one_block_mean_the_same_in_the_next() -> None:
    plan = Plan(("can0",), (MODES,))
    decoder = Decoder(plan)
    first = decoder.decode(block([(0x20, bytes([1, 0, 1, 0, 0, 0, 0, 0]))]))
    second = decoder.decode(block([(0x20, bytes([2, 0, 1, 0, 0, 0, 0, 0])), (0x20, bytes([1, 0, 2, 0, 0, 0, 0, 0]))]))
    assert first.signals.shape[0] == second.signals.shape[1]
    assert second.signals.shapes[second.signals.shape[0]] == (0, 1, 3)


def test_block_decodes_alike_when_its_values_are_learned_and_when_they_are_known() -> None:
    deep = MessageDefinition(
        "can0",
        0x30,
        "DEEP",
        8,
        (
            SignalDefinition("A", 7, 4, little_endian=False, multiplexor=True),
            SignalDefinition("B", 8, 16, multiplexor=True, selected_by="A", selected_when=((1, 3),)),
            SignalDefinition("C", 24, 2, multiplexor=True, selected_by="B", selected_when=((0, 40_000),)),
            SignalDefinition("D", 32, 8, selected_by="C", selected_when=((1, 2),)),
        ),
    )
    dice = np.random.default_rng(3)
    frames = [
        (int(dice.choice([0x10, 0x20, 0x30, 0x40])), dice.integers(0, 4, dice.choice([2, 4, 8, 8, 8])).astype("u1"))
        for _ in range(400)
    ]
    mixed = block([(can_id, data.tobytes()) for can_id, data in frames])
    for messages, keep in (((PLAIN, MODES), ()), ((PLAIN, MODES, deep), ()), ((PLAIN, MODES, deep), ("can0",))):
        plan = Plan(("can0",), messages, keep_unknown=frozenset(keep))
        decoder = Decoder(plan)
        learned, known = decoder.decode(mixed), decoder.decode(mixed)
        assert table(learned, plan) == table(known, plan)
        assert learned.signals.shape.tolist() == known.signals.shape.tolist()
        assert learned.partial == known.partial
        one_by_one = [Decoder(plan).decode(mixed.slice(n, n + 1)) for n in range(len(mixed))]
        assert sum(len(each.signals.values) for each in one_by_one) == len(known.signals.values)
        assert sum((Counter(each.partial) for each in one_by_one), Counter[tuple[int, int]]()) == known.partial


def test_j1939_messages_are_found_by_parameter_group() -> None:
    pdu1 = MessageDefinition("can0", 0x18EA0000 | EXTENDED, "PDU1", 1, (SignalDefinition("A", 0, 8),), j1939=True)
    pdu2 = MessageDefinition("can0", 0x18FEF100 | EXTENDED, "PDU2", 1, (SignalDefinition("B", 0, 8),), j1939=True)
    plan = Plan(("can0",), (pdu1, pdu2))
    frames = [
        (0x0CEAFF17 | EXTENDED, b"\x01"),  # other priority, destination and source
        (0x0CFEF117 | EXTENDED, b"\x02"),  # other priority and source
        (0x18FEF200 | EXTENDED, b"\x03"),  # other group extension: another message
        (0x19FEF100 | EXTENDED, b"\x04"),  # other data page: another message
    ]
    decoded = Decoder(plan).decode(block(frames))
    assert table(decoded, plan) == {(0, frames[0][0]): {0: [1]}, (0, frames[1][0]): {0: [2]}}
    assert len(decoded.unknown) == 2


def test_a_long_field_of_can_fd_reaches_into_a_ninth_byte() -> None:
    intel = SignalDefinition("I", 13, 64)
    motorola = SignalDefinition("M", 8 * 20 + 2, 64, little_endian=False)
    plan = Plan(("can0",), (MessageDefinition("can0", 1, "FD", 64, (intel, motorola)),))
    payload = bytes(range(3, 67))
    decoded = Decoder(plan).decode(block([(1, payload)]))
    whole = int.from_bytes(payload, "little") >> 13 & (1 << 64) - 1
    from_left = int.from_bytes(payload, "big") >> (512 - (20 * 8 + 5) - 64) & (1 << 64) - 1
    assert table(decoded, plan) == {(0, 1): {0: [whole], 1: [from_left]}}


def test_no_frames_and_no_known_frames_decode_to_nothing() -> None:
    for plan in (Plan(("can0",), ()), Plan(("can0",), (PLAIN,))):
        assert len(Decoder(plan).decode(FrameBlock.empty()).signals) == 0
        unknown = Decoder(plan).decode(block([(0x99, b"\x01"), (5 | EXTENDED, b"")]))
        assert len(unknown.signals) == 0
        assert unknown.unknown == {(0, 0x99): 1, (0, 5 | EXTENDED): 1}


def test_noise_in_a_multiplexor_is_learned_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walks, "HELD_MAX", 60)
    monkeypatch.setattr(room, "SHAPES_MAX", 30)
    wide = MessageDefinition(
        "can0",
        0x30,
        "WIDE",
        8,
        (
            SignalDefinition("Mode", 0, 16, multiplexor=True),
            *(SignalDefinition(f"S{n}", 16, 8, selected_by="Mode", selected_when=((n, n),)) for n in range(100)),
        ),
    )
    plan = Plan(("can0",), (wide,))
    decoder = Decoder(plan)
    for start in range(0, 90, 10):
        frames = [(0x30, bytes([mode, 0, mode, 0, 0, 0, 0, 0])) for mode in range(start, start + 10)]
        decoded = decoder.decode(block(frames))
        expected = {0: list(range(start, start + 10))} | {mode + 1: [mode] for mode in range(start, start + 10)}
        assert table(decoded, plan) == {(0, 0x30): expected}
        assert not decoded.partial
    assert len(plan.shapes) <= 30 + 1 + 10
    assert len(decoder._walk.table.shape) <= 30 + 10 + 10


def test_more_multiplexor_values_than_can_be_learned_are_counted_and_carry_the_rest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(walks, "LEARNED_MAX", 12)
    decoder = Decoder(plan := Plan(("can0",), (MODES,)))
    frames = [(0x20, bytes([mode, mode, 7, 8, 9, 0, 0, 0])) for mode in range(20, 30)]
    decoded = decoder.decode(block(frames))
    found = table(decoded, plan)[0, 0x20]
    read = len(found[3])
    assert 0 < read < 10
    assert found == {0: list(range(20, 30)), 1: list(range(20, 30)), 3: [7] * read}
    assert decoded.partial == {(group_key(0, 0, 0x20), Defect.UNREAD): 10 - read}
    for _ in range(5):
        decoded = decoder.decode(block(frames))
    assert table(decoded, plan)[0, 0x20] == {0: list(range(20, 30)), 1: list(range(20, 30)), 3: [7] * 10}
    assert not decoded.partial


def test_message_of_nothing_but_multiplexors_is_walked_within_bounds() -> None:
    chain = tuple(SignalDefinition(f"M{n}", n % 32, 2, multiplexor=True) for n in range(600))
    decoder = Decoder(Plan(("can0",), (MessageDefinition("can0", 0x30, "CHAIN", 8, chain),)))
    dice = np.random.default_rng(4)
    for _ in range(10):
        frames = [(0x30, dice.integers(0, 256, 8, dtype=np.uint8).tobytes()) for _ in range(50)]
        decoded = decoder.decode(block(frames))
        assert len(decoded.signals) == sum(decoded.partial.values()) == 50
        assert sum(map(len, (state.values for state in decoder._walk._states))) <= walks.HELD_MAX + walks.LEARNED_MAX


def test_unknown_ids_are_counted_each_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(id_room, "UNKNOWN_MAX", 3)
    decoder = Decoder(Plan(("can0", "can1"), (PLAIN,)))
    ids = [0x400, 5 | EXTENDED, 0x10, 0x400, 0x777, 0x300, 0x777, 0x200]
    frames = [(can_id, bytes(4)) for can_id in ids]
    for _ in range(2):
        decoded = decoder.decode(block(frames, bus=[1, 0, 0, 1, 1, 0, 1, 0]))
        expected = {(1, 0x400): 2, (0, 5 | EXTENDED): 1, (1, 0x777): 2, (0, 0x300): 1, (0, 0x200): 1}
        assert decoded.unknown == expected
        last = [(int(decoded.unknown_last[n]), key) for n, key in enumerate(decoded.unknown)]
        assert sorted(last) == [
            (1, (0, 5 | EXTENDED)),
            (3, (1, 0x400)),
            (5, (0, 0x300)),
            (6, (1, 0x777)),
            (7, (0, 0x200)),
        ]
        assert len(decoder._ids.unknown) == 3


def test_an_id_that_is_met_later_leaves_the_others_as_they_are() -> None:
    early = MessageDefinition("can0", 0x300, "EARLY", 1, (SignalDefinition("E", 0, 8),))
    late = MessageDefinition("can0", 0x300 | EXTENDED, "LATE", 2, (SignalDefinition("L", 8, 8),))
    plan = Plan(("can0",), (late, PLAIN, early))
    decoder = Decoder(plan)
    assert table(decoder.decode(block([(0x300, b"\x07"), (0x99, b"")])), plan) == {(0, 0x300): {0: [7]}}
    decoded = decoder.decode(block([(0x300, b"\x08"), (0x10, bytes(4)), (0x99, b""), (0x300 | EXTENDED, b"\x01\x09")]))
    expected = {(0, 0x300 | EXTENDED): {0: [9]}, (0, 0x10): {0: [0], 1: [0]}, (0, 0x300): {0: [8]}}
    assert table(decoded, plan) == expected
    assert decoded.last.tolist() == [3, 1, 0]
    assert decoded.unknown == {(0, 0x99): 1}


@pytest.mark.parametrize(
    ("signal", "byte", "shift", "extent"),
    [
        (SignalDefinition("I", 4, 12), 0, 4, 2),
        (SignalDefinition("I", 63, 1), 7, 7, 8),
        (SignalDefinition("M", 7, 8, little_endian=False), 0, 56, 1),
        (SignalDefinition("M", 3, 8, little_endian=False), 0, 52, 2),
    ],
)
def test_a_field_knows_its_window(signal: SignalDefinition, byte: int, shift: int, extent: int) -> None:
    field = Field.of(signal)
    assert (field.byte, field.shift, field.extent, field.over) == (byte, shift, extent, 0)
