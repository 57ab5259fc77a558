# SPDX-License-Identifier: Apache-2.0
"""The parser of whole pieces against python-can's reader, line by line."""

from __future__ import annotations

import io

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent.model import EXTENDED, FrameFlag
from agent.sources.canlib import python_can
from agent.sources.logs.candump import parse
from agent.sources.messages import channel_name, nanoseconds

CHANNELS = ("can0", "can1", "vcan0", "slcan-of-15-char", "3")

times = st.builds("({}.{:06})".format, st.integers(0, 4_000_000_000), st.integers(0, 999_999))
identifiers = st.one_of(
    st.integers(0, 0x7FF).map("{:03X}".format),
    st.integers(0, 0x1FFFFFFF).map("{:08X}".format),
    st.integers(0, 0x1FFFFFFF).map("{:08x}".format),
)
payloads = st.one_of(
    st.binary(max_size=8).map(lambda data: "#" + data.hex().upper()),
    st.binary(max_size=8).map(lambda data: "#" + data.hex()),
    st.tuples(st.integers(0, 7), st.binary(max_size=64)).map(lambda fd: f"##{fd[0]}{fd[1].hex().upper()}"),
    st.sampled_from(["#R", "#R0", "#R8", "#r4"]),
)
ends = st.sampled_from(["", "", "", " R", " T", "\r", "  "])
whole = st.builds("{} {} {}{}{}".format, times, st.sampled_from(CHANNELS), identifiers, payloads, ends)
torn = st.builds(lambda line, keep: line[:keep], whole, st.integers(0, 60))
rubbish = st.text(st.characters(blacklist_characters="\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"), max_size=40)
lines = st.lists(st.one_of(whole, whole, whole, torn, rubbish), max_size=30)


def oracle(text: list[str]) -> tuple[list[object], int, list[int]]:
    """What python-can says: data frames, remote frames, the lines it refuses."""
    frames: list[object] = []
    remotes = 0
    refused = []
    for number, line in enumerate(text, 1):
        try:
            for message in python_can().CanutilsLogReader(io.StringIO(line)):
                if message.is_remote_frame:
                    remotes += 1
                    continue
                can_id = message.arbitration_id
                payload = bytes(message.data)
                if len(payload) != message.dlc or len(payload) > (64 if message.is_fd else 8):
                    raise ValueError(line)
                if not message.is_extended_id and can_id > 0x7FF:
                    raise ValueError(line)
                flags = 0
                if message.is_fd:
                    flags = FrameFlag.FD | message.bitrate_switch * FrameFlag.BRS
                    flags |= message.error_state_indicator * FrameFlag.ESI
                word = can_id | EXTENDED if message.is_extended_id else can_id
                frames.append(
                    (channel_name(message.channel), nanoseconds(message.timestamp), word, payload, int(flags))
                )
        except (ValueError, IndexError, OverflowError):
            refused.append(number)
    return frames, remotes, refused


@pytest.mark.timeout(120)
@settings(deadline=None)
@given(lines)
@example(["(0.1) can0 123#" + "11" * 20, "(1.) can0 123#", "(.5) can0 123#", "(0.1) can0 12345#"])
@example(["(0.1) can0 123#1_", "(0.1) can0 1_3#11", "(-1.5) can0 123#11", "(1e3) can0 123#", "(inf) can0 1#"])
@example(["(0.1) can0 123#11#22", "(0.1) can0 123###22", "(0.1) #can0 123#", "(0.1) a.b 123#11", "(0.1) can0 #11"])
def test_every_line_is_what_python_can_makes_of_it(text: list[str]) -> None:
    frames, remotes, refused = oracle(text)
    names: list[str] = []

    def bus_of(channel: str) -> int:
        if channel not in names:
            names.append(channel)
        return names.index(channel)

    result = parse(("\n".join(text) + "\n").encode("utf-8", "surrogatepass"), bus_of)
    block = result.block
    seen = [
        (names[bus], time_ns, word, bytes(row[:length]), flags)
        for bus, time_ns, word, row, length, flags in zip(
            block.bus.tolist(),
            block.time_ns.tolist(),
            block.can_id.tolist(),
            block.data,
            block.length.tolist(),
            block.flags.tolist(),
            strict=True,
        )
    ]
    assert seen == frames
    assert sum(result.remotes.values()) == remotes
    assert [number for number, _ in result.refused] == refused
