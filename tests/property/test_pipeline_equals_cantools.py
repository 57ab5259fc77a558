# SPDX-License-Identifier: Apache-2.0
"""For any database and any frames: what comes out of a batch is what cantools decodes from the frame."""

from __future__ import annotations

import math
import struct
from collections import defaultdict
from itertools import pairwise
from typing import Any

import numpy as np
from cantools.database.can.formats.dbc import load_string
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.batch.catalog import Catalog, decode_catalog, encode_catalog
from agent.batch.codec import Header, decode_batch, encode_batch
from agent.blocks import merge_blocks
from agent.decode.decoder import Decoder
from agent.decode.defining import define
from agent.decode.plan import Plan
from agent.decode.reading import read_statements
from agent.model import EXTENDED, BatchId, FrameBlock
from agent.physical import physical
from tests.property.databases import Database, databases, frames

RESOLUTION_NS = 1_000_000
T0_NS = 1_700_000_000_000_000_000

drawn = databases().flatmap(
    lambda database: st.tuples(st.just(database), frames(database, other_lengths=True), st.integers(1, 3))
)


def block_of(received: list[tuple[int, bytes]], first: int) -> FrameBlock:
    width = 64 if any(len(data) > 8 for _, data in received) else 8
    data = np.zeros((len(received), width), np.uint8)
    for row, (_, payload) in enumerate(received):
        data[row, : len(payload)] = np.frombuffer(payload, np.uint8)
    return FrameBlock(
        T0_NS + np.arange(first, first + len(received), dtype=np.int64) * 1_700_000,
        np.zeros(len(received), np.uint8),
        np.array([can_id for can_id, _ in received], np.uint32),
        np.array([len(payload) for _, payload in received], np.uint8),
        np.zeros(len(received), np.uint8),
        data,
    )


def same(ours: object, theirs: object) -> bool:
    if isinstance(theirs, float) and isinstance(ours, float):
        return struct.pack("<d", ours) == struct.pack("<d", theirs) or (math.isnan(ours) and math.isnan(theirs))
    return type(ours) is type(theirs) and ours == theirs


def expected(message: Any, payload: bytes) -> dict[str, Any] | None:
    """What cantools decodes; None where it refuses."""
    try:
        decoded: dict[str, Any] = message.decode(payload, decode_choices=False)
    except Exception:  # noqa: BLE001
        return None
    return decoded


@given(drawn)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_every_frame_that_cantools_decodes_comes_out_equal_and_in_order(
    case: tuple[Database, list[tuple[int, bytes]], int],
) -> None:
    database, received, pieces = case
    definitions, problems = define("can0", read_statements("generated.dbc", database.text), "auto")
    assert problems == []
    catalog = Catalog(("can0",), tuple(message for _, message in definitions))
    decoder = Decoder(Plan(catalog.buses, catalog.messages))
    cuts = [len(received) * piece // pieces for piece in range(pieces + 1)]
    parts = [decoder.decode(block_of(received[begin:end], begin)) for begin, end in pairwise(cuts)]
    merged = merge_blocks([part.signals for part in parts])
    header = Header(BatchId("v", "s", 7), catalog.hash, RESOLUTION_NS, T0_NS, T0_NS, len(received))

    batch = decode_batch(encode_batch(header, merged, catalog.messages, 3), decode_catalog(encode_catalog(catalog)))

    assert batch.id == BatchId("v", "s", 7)
    rows: dict[int, list[tuple[int, dict[str, Any]]]] = defaultdict(list)
    for group in batch.groups:
        signals = catalog.messages[group.message].signals
        frames_of_group: list[tuple[int, dict[str, Any]]] = [(int(time), {}) for time in group.time_ns]
        for number, raw in group.columns.items():
            values = physical(signals[number], raw).tolist()
            for row, value in zip(group.rows(number).tolist(), values, strict=True):
                frames_of_group[row][1][signals[number].name] = value
        rows[group.can_id] = frames_of_group
    oracle = {
        message.frame_id | (EXTENDED if message.is_extended_frame else 0): message
        for message in load_string(database.text, strict=True).messages
    }
    refused = 0
    position: dict[int, int] = defaultdict(int)
    for index, (can_id, payload) in enumerate(received):
        time_ns, values = rows[can_id][position[can_id]]
        position[can_id] += 1
        assert abs(time_ns - (T0_NS + index * 1_700_000)) <= RESOLUTION_NS // 2
        theirs = expected(oracle[can_id], payload)
        if theirs is None:
            refused += 1
        else:
            assert values.keys() == theirs.keys()
            assert all(same(values[name], value) for name, value in theirs.items())
    assert sum(map(len, rows.values())) == len(received)
    counted = sum(frames for part in parts for frames in part.partial.values())
    assert counted >= refused
