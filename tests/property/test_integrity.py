# SPDX-License-Identifier: Apache-2.0
"""For any stream and any cut into blocks, counters and checksums are judged as the reference judges them."""

from __future__ import annotations

import random
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.collect.block_view import BlockView
from agent.collect.integrity.protection import protections_of
from agent.collect.integrity.verify import Integrity
from agent.collect.signal_index import SignalIndex
from agent.config.integrity import IntegrityConfig, integrity_violations
from agent.decode.decoder import Decoder
from agent.decode.plan import Plan
from agent.model import EXTENDED, FrameBlock, MessageDefinition, SignalDefinition
from tests.property.integrity_reference import Reference, checksum

if TYPE_CHECKING:
    from agent.config.integrity import DataIdMode, Kind

SOURCES = (0x18FEF100 | EXTENDED, 0x18FEF117 | EXTENDED)
PLAIN = 0x123
LENGTHS = (8, 8, 8, 8, 5, 2, 1, 0, 12)
DAMAGES = ("", "", "", "bit", "checksum", "counter")
LOST = (0, 0, 0, 0, 0, 1, 3, 14, -1)
DATA_IDS = tuple(range(200, 216))
KINDS: tuple[tuple[Kind, DataIdMode], ...] = (
    ("sum", "both"),
    ("xor", "both"),
    ("crc8-sae-j1850", "both"),
    ("crc8-h2f", "both"),
    ("e2e-1", "both"),
    ("e2e-1", "alternating"),
    ("e2e-1", "low"),
    ("e2e-1", "nibble"),
    ("e2e-2", "both"),
)

Sent = tuple[int, bytes]


@st.composite
def configs(draw: st.DrawFn) -> tuple[IntegrityConfig, int]:
    """A configuration, and where the checksum lies."""
    kind, mode = draw(st.sampled_from(KINDS))
    plain = kind in ("sum", "xor")
    config = IntegrityConfig(
        message="*",
        counter="COUNTER" if draw(st.booleans()) or kind == "e2e-2" or mode == "alternating" else None,
        checksum="CHECKSUM",
        kind=kind,
        data_id=draw(st.integers(0, 0xFFFF)) if kind == "e2e-1" else None,
        data_id_mode=mode,
        data_ids=DATA_IDS if kind == "e2e-2" else (),
        start=draw(st.integers(0, 255)) if plain else 0,
        with_id=plain and draw(st.booleans()),
        with_length=plain and draw(st.booleans()),
    )
    assert not list(integrity_violations([config]))
    return config, draw(st.sampled_from((0, 4, 7)))


def stream(config: IntegrityConfig, at: int, seed: int, frames: int) -> list[Sent]:
    """Frames of senders that count and sign, of which some are lost, repeated, damaged or cut short."""
    draw = random.Random(seed)
    turn = 15 if config.kind == "e2e-1" else 16
    counters = {can_id: draw.randrange(turn) for can_id in (PLAIN, *SOURCES)}
    sent: list[Sent] = []
    for _ in range(frames):
        can_id, length = draw.choice((PLAIN, *SOURCES)), draw.choice(LENGTHS)
        counters[can_id] = counter = (counters[can_id] + 1 + draw.choice(LOST)) % turn
        damage = draw.choice(DAMAGES)
        data = bytearray(draw.randbytes(length))
        if length > 1:
            data[1] = data[1] & 0xF0 | (counter if damage != "counter" else 15)
        if length > at:
            data[at] = checksum(config, bytes(data), at, can_id, data[1] & 0x0F if length > 1 else 0)
            data[at] ^= 0x40 if damage == "checksum" else 0
        if damage == "bit" and length:
            data[draw.randrange(length)] ^= 1 << draw.randrange(8)
        sent.append((can_id, bytes(data)))
    return sent


@cache
def decoder_of(at: int) -> Decoder:
    """Of a car whose checksums lie in this byte."""
    signals = (SignalDefinition("COUNTER", 8, 4), SignalDefinition("CHECKSUM", 8 * at, 8), SignalDefinition("X", 16, 8))
    motorola = (
        SignalDefinition("COUNTER", 11, 4, little_endian=False),
        SignalDefinition("CHECKSUM", 8 * at + 7, 8, little_endian=False),
    )
    messages = (
        MessageDefinition("can0", PLAIN, "PLAIN", 8, motorola),
        MessageDefinition("can0", SOURCES[0], "ENGINE", 8, signals, j1939=True),
    )
    return Decoder(Plan(("can0",), messages))


def block(sent: list[Sent], begin: int) -> FrameBlock:
    count = len(sent)
    data = np.zeros((count, 8 if all(len(each) <= 8 for _, each in sent) else 64), np.uint8)
    for row, (_, payload) in enumerate(sent):
        data[row, : len(payload)] = np.frombuffer(payload, np.uint8)
    return FrameBlock(
        np.arange(begin, begin + count, dtype=np.int64) * 10**6,
        np.zeros(count, np.uint8),
        np.array([can_id for can_id, _ in sent], np.uint32),
        np.array([len(payload) for _, payload in sent], np.uint8),
        np.zeros(count, np.uint8),
        data,
    )


@given(configs(), st.integers(0, 1 << 32), st.integers(0, 80), st.lists(st.integers(0, 80), max_size=8))
@settings(max_examples=100, deadline=None)
def test_what_is_found_equals_the_reference_however_the_stream_is_cut(
    configured: tuple[IntegrityConfig, int], seed: int, frames_sent: int, cuts: list[int]
) -> None:
    config, at = configured
    sent = stream(config, at, seed, frames_sent)
    reference = Reference(config, at, 1, 14 if config.kind == "e2e-1" and config.counter else 15)
    expected = [reference.take(can_id, data) for can_id, data in sent]

    decoder = decoder_of(at)
    roster = SignalIndex(decoder.plan)
    integrity = Integrity(roster, protections_of(decoder.plan.messages, [config]))
    wrong: list[bool] = []
    findings = []
    for begin, end in pairwise([0, *sorted(min(cut, len(sent)) for cut in cuts), len(sent)]):
        frames = block(sent[begin:end], begin)
        view = BlockView(roster, frames, decoder.decode(frames).signals, frames.time_ns, 0)
        verdict = integrity.verify(view)
        marked = np.zeros(len(frames), np.bool_)
        if verdict.wrong is not None:
            marked[view.arrival] = verdict.wrong
        wrong += marked.tolist()
        findings += verdict.findings

    assert wrong == expected
    counted = integrity.counters().values()
    found = {name: sum(getattr(each, name) for each in counted) for name in ("frames", "wrong", "missing", "repeated")}
    assert found == {name: reference.found[name] for name in found}
    for kind in ("wrong", "missing", "repeated"):
        assert sum(each.frames for each in findings if each.kind == kind) == found[kind]
