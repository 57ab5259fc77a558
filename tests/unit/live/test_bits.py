# SPDX-License-Identifier: Apache-2.0
"""Whose each bit is: as the decoder reads it."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from agent.decode.decoder import Decoder
from agent.decode.plan import Plan, field_bits
from agent.live.explain_text import drawing, owners
from agent.model import FrameBlock, MessageDefinition, SignalDefinition


@st.composite
def signals(draw: st.DrawFn) -> SignalDefinition:
    """A signal that fits eight bytes."""
    length = draw(st.integers(1, 64))
    if draw(st.booleans()):
        return SignalDefinition("S", draw(st.integers(0, 64 - length)), length)
    place = draw(st.integers(0, 64 - length))  # of its most significant bit, counted as drawn
    return SignalDefinition("S", place // 8 * 8 + 7 - place % 8, length, little_endian=False)


@given(signals())
def test_the_bits_of_a_signal_are_those_that_make_its_value(signal: SignalDefinition) -> None:
    payload = bytearray(8)
    for position in field_bits(signal):
        payload[position // 8] |= 1 << position % 8
    inverse = bytes(byte ^ 0xFF for byte in payload)
    assert value(signal, bytes(payload)) == (1 << signal.length) - 1
    assert value(signal, inverse) == 0
    assert owners({"a": signal}, 8).count("a") == signal.length


def value(signal: SignalDefinition, payload: bytes) -> int:
    decoder = Decoder(Plan(("can0",), (MessageDefinition("can0", 1, "M", 8, (signal,)),)))
    one = np.zeros(1, np.uint8)
    data = np.frombuffer(bytearray(payload), np.uint8).reshape(1, 8)
    ids = np.ones(1, np.uint32)
    block = FrameBlock(np.zeros(1, np.int64), one, ids, np.full(1, 8, np.uint8), one, data)
    return int(decoder.decode(block).signals.values[0])


def test_a_drawing_has_bytes_bits_and_letters() -> None:
    intel, motorola = SignalDefinition("I", 0, 12), SignalDefinition("M", 23, 8, little_endian=False)
    assert list(drawing(b"\x01\x80\xff", {"a": intel, "b": motorola}, coloured=False)) == [
        "byte   0        1        2",
        "bits   00000001 10000000 11111111",
        "signal aaaaaaaa ....aaaa bbbbbbbb",
    ]


def test_long_payloads_go_on_in_further_lines() -> None:
    lines = list(drawing(bytes(20), {}, coloured=False))
    assert len(lines) == 9
    assert lines[6] == "byte   16       17       18       19"
    assert max(map(len, lines)) == 78


def test_bits_that_two_signals_share_are_marked() -> None:
    one, other = SignalDefinition("A", 0, 4), SignalDefinition("B", 2, 4)
    assert owners({"a": one, "b": other}, 1) == "..bb##aa"


def test_what_lies_beyond_a_short_frame_is_left_out() -> None:
    assert owners({"a": SignalDefinition("A", 4, 16)}, 1) == "aaaa...."


def test_no_payload_is_drawn_as_nothing() -> None:
    assert list(drawing(b"", {}, coloured=True)) == []


def test_colours_change_nothing_of_the_text() -> None:
    lines = list(drawing(b"\x0f", {"a": SignalDefinition("A", 0, 4)}, coloured=True))
    assert lines[1].count("\x1b[36m1\x1b[0m") == 4
    assert "\x1b" not in lines[0]
