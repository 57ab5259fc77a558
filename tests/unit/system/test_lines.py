# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent.system.lines import LineSplitter

PIECES = st.lists(st.binary(max_size=30).map(lambda data: data.replace(b"\0", b"\n")), max_size=30)


@given(PIECES)
def test_lines_come_whole_however_they_are_cut(pieces: list[bytes]) -> None:
    splitter = LineSplitter(10_000)
    lines = [line for piece in pieces for line in splitter.feed(piece)]
    *whole, _ = b"".join(pieces).split(b"\n")
    assert lines == [line for line in (each.rstrip(b"\r") for each in whole) if line]
    assert splitter.overlong == 0


@given(PIECES)
def test_no_line_is_longer_than_the_limit_and_the_others_are_not_touched(pieces: list[bytes]) -> None:
    splitter = LineSplitter(8)
    lines = [line for piece in pieces for line in splitter.feed(piece)]
    *whole, rest = b"".join(pieces).split(b"\n")
    assert lines == [line for line in (each.rstrip(b"\r") for each in whole if len(each) <= 9) if line]
    assert splitter.overlong == sum(len(each) > 9 for each in [*whole, rest])


def test_a_new_beginning_has_nothing_of_the_old() -> None:
    splitter = LineSplitter(80)
    splitter.feed(b"$GPRMC,12")
    splitter.reset()
    assert splitter.feed(b"$GPGGA\r\n") == [b"$GPGGA"]
