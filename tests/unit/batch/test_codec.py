# SPDX-License-Identifier: Apache-2.0
"""The batch format: what it promises beyond the numbers themselves."""

from __future__ import annotations

import base64
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import zstandard

from agent.batch import batch_pb2
from agent.batch.catalog import Catalog, decode_catalog, encode_catalog
from agent.batch.codec import Batch, Header, UnknownCount, decode_batch, encode_batch
from agent.batch.frame import compress, decompress
from agent.decode.decoder import Decoder
from agent.decode.plan import Plan
from agent.errors import BatchError, DatabaseError
from agent.model import (
    EXTENDED,
    BatchId,
    ClockReading,
    Event,
    EventKind,
    FrameBlock,
    Gap,
    GapKind,
    MessageDefinition,
    SignalBlock,
    SignalDefinition,
)

T0_NS = 1_700_000_000_123_456_789
MS = 1_000_000
LEVEL = 10
SPEED = MessageDefinition(
    "can0",
    0x100,
    "SPEED",
    4,
    (SignalDefinition("Speed", 0, 16, scale=0.01, unit="km/h"), SignalDefinition("Counter", 16, 4)),
    cycle_ms=10,
)
PGN = MessageDefinition("can1", 0x18FEF100 | EXTENDED, "CCVS", 8, (SignalDefinition("Brake", 0, 8),), j1939=True)
CATALOG = Catalog(("can0", "can1"), (SPEED, PGN))
BATCH_OF_0_1_0 = base64.b85decode(
    "D77#B1OTuD00;pR1!G}yEioDkZf|mJVQej7VlgrxDk>1>8Vyp~iF%hhUv1T-eizs<z=S<G`_PsDyfHwPnwRY3pXbXLNY%o;@Z+E7"
    "%NI}zS^%N}0RXB20RXZA0RXxI0X)J10RYMY0)Q~m0RaH=0Rs~>6Z!!I0000@0RXV70(JlZ2><{B000C50s;ZL0y|2Slm`HH&x-Q_"
    "7XXNn5|~g<5a5cVmfOP"
)


def frames_every(period_ms: float, rows: int, *, jitter_ms: float = 0.0, seed: int = 1) -> FrameBlock:
    jitter = np.random.default_rng(seed).uniform(-jitter_ms, jitter_ms, rows)
    data = np.zeros((rows, 8), np.uint8)
    data[:, 0] = 7
    data[:, 2] = np.arange(rows) & 0xF
    return FrameBlock(
        T0_NS + ((np.arange(rows) * period_ms + jitter) * MS).astype(np.int64),
        np.zeros(rows, np.uint8),
        np.full(rows, 0x100, np.uint32),
        np.full(rows, 4, np.uint8),
        np.zeros(rows, np.uint8),
        data,
    )


def decoded(frames: FrameBlock, keep_unknown: frozenset[str] = frozenset()) -> SignalBlock:
    return Decoder(Plan(CATALOG.buses, CATALOG.messages, keep_unknown=keep_unknown)).decode(frames).signals


def header(**changes: Any) -> Header:
    plain = Header(BatchId("car-1", "normal-ab12", 42), CATALOG.hash, MS, T0_NS, T0_NS + 9 * MS, 10)
    return replace(plain, **changes)


def through(frames: FrameBlock, keep_unknown: frozenset[str] = frozenset(), **changes: Any) -> Batch:
    block = decoded(frames, keep_unknown)
    return decode_batch(encode_batch(header(**changes), block, CATALOG.messages, LEVEL), CATALOG)


def test_a_batch_keeps_its_id_its_clock_and_its_gaps() -> None:
    told: dict[str, Any] = {
        "clock": ClockReading(b"0123456789abcdef", 5, 6, trusted=True, holds=True),
        "events": (Event(EventKind.ABSENT, 5, "can0.DRIVE", 0x100, "silent"), Event("of a later version", 6, "x")),
        "gaps": (Gap(GapKind.EVICTED, 1, 2, 3, "normal-ab12", 4, 5, "full"), Gap(GapKind.DROPPED)),
        "unknown": (UnknownCount(0, 0x7FF, 3), UnknownCount(1, 5 | EXTENDED, 1)),
    }
    batch = through(frames_every(10, 10), **told)
    assert replace(batch, groups=()) == Batch(**{name: getattr(header(**told), name) for name in Header.__slots__})


def test_a_reader_without_the_catalog_gets_the_head() -> None:
    payload = encode_batch(header(), decoded(frames_every(10, 10)), CATALOG.messages, LEVEL)
    assert decode_batch(payload).id == BatchId("car-1", "normal-ab12", 42)
    assert decode_batch(payload).catalog == CATALOG.hash


@pytest.mark.parametrize("unit_ns", [1_000, MS, 1_000_000_000])
def test_times_are_off_by_half_a_unit_at_most(unit_ns: int) -> None:
    frames = frames_every(33.3, 200, jitter_ms=4)
    (group,) = through(frames, resolution_ns=unit_ns).groups
    assert np.abs(group.time_ns - frames.time_ns).max() <= unit_ns // 2
    assert (np.diff(group.time_ns) >= 0).all()


@pytest.mark.parametrize("period_ms", [10, 33.3, 66.67, 1000])
def test_a_message_sent_on_time_with_a_counter_costs_nothing_a_frame(period_ms: float) -> None:
    few, many = (
        len(encode_batch(header(), decoded(frames_every(period_ms, rows)), CATALOG.messages, LEVEL))
        for rows in (100, 2000)
    )
    assert many - few <= 1900 * 0.03


def test_frames_that_step_back_in_time_keep_their_order() -> None:
    frames = frames_every(10, 20)
    frames.time_ns[7] -= 500 * MS
    (group,) = through(frames).groups
    assert np.abs(group.time_ns - frames.time_ns).max() <= MS // 2
    assert group.columns[1].tolist() == [row & 0xF for row in range(20)]


def test_each_sender_of_a_j1939_message_is_a_group_with_its_own_id() -> None:
    frames = frames_every(10, 6)
    ids = np.array([0x18FEF100, 0x0CFEF1AB, 0x18FEF100, 0x0CFEF1AB, 0x18FEF200, 0x18FEF100], np.uint32)
    ids |= np.uint32(EXTENDED)
    batch = through(replace(frames, bus=np.ones(6, np.uint8), can_id=ids, length=np.full(6, 8, np.uint8)))
    assert [(group.can_id & ~EXTENDED, len(group.time_ns)) for group in batch.groups] == [
        (0x0CFEF1AB, 2),
        (0x18FEF100, 3),
    ]


def test_unknown_frames_are_kept_raw_where_that_is_wanted() -> None:
    frames = frames_every(10, 3)
    frames = replace(frames, can_id=np.array([0x100, 0x7FF, 0x7FF], np.uint32), length=np.array([4, 2, 3], np.uint8))
    raw, known = through(frames, frozenset({"can0"})).groups
    assert (raw.message, raw.can_id, known.message) == (-1, 0x7FF, 0)
    assert [raw.shapes[shape] for shape in raw.shape] == [(0, 1), (0, 1, 2)]
    assert raw.columns[2].tolist() == [2]


def test_no_frames_make_a_batch_that_can_still_tell_a_gap() -> None:
    batch = through(FrameBlock.empty(), gaps=(Gap(GapKind.INTERRUPTED, 1, 2),))
    assert batch.groups == ()
    assert batch.gaps[0].kind == GapKind.INTERRUPTED


def test_any_flipped_byte_and_any_cut_is_noticed() -> None:
    payload = encode_batch(header(), decoded(frames_every(10, 50, jitter_ms=3)), CATALOG.messages, LEVEL)
    for at in range(len(payload)):
        damaged = payload[:at] + bytes([payload[at] ^ 0x41]) + payload[at + 1 :]
        try:
            batch = decode_batch(damaged, CATALOG)
        except BatchError:
            continue
        # The frame header has a few bits that mean nothing; then the content is what it was.
        assert batch == decode_batch(payload) or decompress(damaged, 1 << 20) == decompress(payload, 1 << 20)
    for cut in range(len(payload)):
        with pytest.raises(BatchError):
            decode_batch(payload[:cut], CATALOG)


def uneven_frames(rows: int) -> FrameBlock:
    """Frames whose times and values are told by their number alone."""
    row = np.arange(rows)
    speed, counter = row * row * 37 % 65_536, (row // 3 + row % 7 // 6) & 0xF
    data = np.zeros((rows, 8), np.uint8)
    data[:, 0], data[:, 1], data[:, 2] = speed & 0xFF, speed >> 8, counter
    frames = frames_every(10, rows)
    return replace(frames, time_ns=frames.time_ns + row * 7 % 5 * MS, data=data)


def test_a_batch_that_0_1_0_wrote_is_read() -> None:
    (then,), (now,) = decode_batch(BATCH_OF_0_1_0, CATALOG).groups, through(uneven_frames(60)).groups
    assert then.time_ns.tolist() == now.time_ns.tolist()
    assert [column.tolist() for column in then.columns.values()] == [column.tolist() for column in now.columns.values()]


def test_any_zstd_library_reads_the_frame_in_one_go() -> None:
    payload = encode_batch(header(), decoded(frames_every(10, 500, jitter_ms=3)), CATALOG.messages, LEVEL)
    content = zstandard.ZstdDecompressor().decompressobj().decompress(payload)
    assert batch_pb2.Batch.FromString(content).sequence == 42


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"version": 9}, "version 9"),
        ({"vehicle": ""}, "no id"),
        ({"time_unit_ns": 0}, "no time unit"),
        ({"group_rows": [1 << 31]}, "rows"),
        ({"group_bus": [7]}, "bus"),
        ({"column_kind": b"\x09\x00\x00"}, "kind 9"),
        ({"column_first": [1]}, "differ in length"),
        ({"pool4": [1, 2]}, "left over"),
        ({"group_shapes": [3]}, "shape"),
    ],
)
def test_what_does_not_add_up_is_refused_with_its_reason(change: dict[str, Any], says: str) -> None:
    payload = encode_batch(header(), decoded(frames_every(10, 10)), CATALOG.messages, LEVEL)
    message = batch_pb2.Batch.FromString(decompress(payload, 1 << 20))
    for name in change:
        message.ClearField(name)
    message.MergeFrom(batch_pb2.Batch(**change))
    with pytest.raises(BatchError, match=says):
        decode_batch(compress([message.SerializeToString()], 3), CATALOG)


def test_a_batch_is_not_read_by_the_wrong_catalog() -> None:
    payload = encode_batch(header(), decoded(frames_every(10, 10)), CATALOG.messages, LEVEL)
    with pytest.raises(BatchError, match=CATALOG.hash):
        decode_batch(payload, Catalog(("can0",), (SPEED,)))


def test_a_bomb_is_refused_before_it_takes_memory() -> None:
    with pytest.raises(BatchError, match="more than"):
        decompress(compress([bytes(5 << 20)], 3), 1 << 20)


def test_a_catalog_comes_back_as_it_was_and_its_hash_is_its_content() -> None:
    signals = (
        SignalDefinition("A", 7, 12, little_endian=False, signed=True, scale=2, offset=-40, minimum=0, maximum=1.5),
        SignalDefinition("M", 20, 4, multiplexor=True, choices=((0, "off"), (1, "on"), (-1, "?"))),
        SignalDefinition("B", 32, 32, is_float=True, unit="°C", selected_by="M", selected_when=((0, 3), (9, 9))),
    )
    catalog = Catalog(("can0",), (MessageDefinition("can0", 1 | EXTENDED, "X", 8, signals, True, 100),))
    again = decode_catalog(encode_catalog(catalog))
    assert again == catalog
    assert again.hash == catalog.hash != CATALOG.hash
    assert [type(signal.scale) for signal in again.messages[0].signals] == [int, int, int]


def test_a_definition_that_a_catalog_cannot_hold_is_an_error_of_its_message() -> None:
    with pytest.raises(DatabaseError, match="message SPEED: a catalog cannot hold it"):
        Catalog(("can0",), (replace(SPEED, cycle_ms=1 << 32),))


def test_what_is_no_catalog_is_refused() -> None:
    for payload in (b"", b"rubbish", encode_catalog(CATALOG)[:-3], compress([b"\xff\xff\xff"], 3)):
        with pytest.raises(BatchError):
            decode_catalog(payload)
