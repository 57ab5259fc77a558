# SPDX-License-Identifier: Apache-2.0
"""A small car for the properties of collecting, and strategies: streams of its frames, rules, ways to cut a stream.

Values come from few, so that they repeat, rise and fall back; times stand still, jump forward, and go back, by a
little and by much. One message is multiplexed, one has floats, one is matched by parameter group and comes from two
senders, and one identifier is in no DBC file and kept raw.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

import numpy as np
from hypothesis import strategies as st

from agent.config.collecting import CollectConfig
from agent.config.priorities import HIGHEST_FIRST, Priority
from agent.decode.plan import Plan
from agent.model import EXTENDED, FrameBlock, MessageDefinition, SignalDefinition
from agent.units import Duration

if TYPE_CHECKING:
    from agent.collect.rules.rules import Value

MS, S = 10**6, 10**9
START = 1_700_000_000 * S
BUSES = ("can0", "can1")
MESSAGES = (
    MessageDefinition(
        "can0",
        0x100,
        "DRIVE",
        4,
        (
            SignalDefinition("SPEED", 0, 12, scale=0.5, unit="km/h"),
            SignalDefinition("SLOPE", 12, 4, signed=True, scale=-2, offset=1),
            SignalDefinition("GEAR", 16, 3, choices=((0, "P"), (1, "R"), (2, "D"))),
            SignalDefinition("COUNTER", 24, 8),
        ),
    ),
    MessageDefinition(
        "can0",
        0x200,
        "MODES",
        3,
        (
            SignalDefinition("KIND", 0, 8, multiplexor=True),
            SignalDefinition("LEFT", 8, 8, selected_by="KIND", selected_when=((1, 1),)),
            SignalDefinition("RIGHT", 8, 8, signed=True, selected_by="KIND", selected_when=((2, 2),)),
            SignalDefinition("BOTH", 16, 8),
        ),
    ),
    MessageDefinition(
        "can1",
        0x18FEF100 | EXTENDED,
        "ENGINE",
        4,
        (SignalDefinition("TORQUE", 0, 32, is_float=True, unit="Nm"),),
        j1939=True,
    ),
)
ENGINES = (0x18FEF100 | EXTENDED, 0x18FEF117 | EXTENDED)
FLOATS = (0.0, 1.5, -2.25, 1e6, float("nan"), float("inf"))


@dataclass(frozen=True)
class Frame:
    """One frame as received."""

    time_ns: int
    bus: int
    can_id: int
    data: bytes


def plan() -> Plan:
    return Plan(BUSES, MESSAGES, keep_unknown=frozenset({"can1"}))


def block(frames: list[Frame]) -> FrameBlock:
    data = np.zeros((len(frames), 8), np.uint8)
    for row, frame in enumerate(frames):
        data[row, : len(frame.data)] = np.frombuffer(frame.data, np.uint8)
    return FrameBlock(
        np.array([frame.time_ns for frame in frames], np.int64),
        np.array([frame.bus for frame in frames], np.uint8),
        np.array([frame.can_id for frame in frames], np.uint32),
        np.array([len(frame.data) for frame in frames], np.uint8),
        np.zeros(len(frames), np.uint8),
        data,
    )


def drive(speed: int = 0, slope: int = 0, gear: int = 0, counter: int = 0) -> bytes:
    """A payload of DRIVE, of raw values; slope is signed."""
    return (speed | (slope & 15) << 12 | gear << 16 | counter << 24).to_bytes(4, "little")


_few = st.integers(0, 3)
_drives = st.builds(drive, st.sampled_from((0, 1, 2, 60, 100, 161, 4095)), st.integers(-8, 7), _few, _few)
_modes = st.builds(lambda kind, value, both: bytes((kind, value, both)), _few, st.sampled_from((0, 1, 2, 255)), _few)
_engines = st.sampled_from(FLOATS).map(lambda value: np.float32(value).tobytes())
_payloads = st.one_of(
    *[st.tuples(st.just((0, 0x100)), _drives)] * 3,
    st.tuples(st.just((0, 0x100)), _drives.map(lambda data: data[:2])),  # short
    st.tuples(st.just((0, 0x200)), _modes),
    st.tuples(st.tuples(st.just(1), st.sampled_from(ENGINES)), _engines),
    st.tuples(st.just((1, 0x700)), st.sampled_from((b"\0", b"\1\2", b"\1\3"))),
    st.tuples(st.just((0, 0x701)), st.just(b"\7")),  # in no DBC file, and not kept
)
_steps = st.sampled_from((0, 0, MS, 3 * MS, 10 * MS, 10 * MS, 40 * MS, 100 * MS, 300 * MS, S, 7 * S))
_back = st.sampled_from((-MS, -400 * MS, -3 * S, -3600 * S, 3600 * S))


@st.composite
def streams(draw: st.DrawFn, frames_max: int = 40) -> list[Frame]:
    """Frames in the order received."""
    drawn = draw(
        st.lists(st.tuples(_payloads, _steps), min_size=draw(st.sampled_from((1, 12, 24))), max_size=frames_max)
    )
    jumps = draw(st.dictionaries(st.integers(0, frames_max), _back, max_size=2))
    times = accumulate((step + jumps.get(row, 0) for row, (_, step) in enumerate(drawn)), initial=START)
    return [
        Frame(time_ns, bus, can_id, data) for time_ns, (((bus, can_id), data), _) in zip(times, drawn, strict=False)
    ]


@st.composite
def pieces(draw: st.DrawFn, frames: list[Frame]) -> list[list[Frame]]:
    """The frames cut at any places."""
    cuts = draw(st.sets(st.integers(1, max(1, len(frames) - 1)), max_size=6))
    return [frames[begin:end] for begin, end in pairwise([0, *sorted(cuts & set(range(1, len(frames)))), len(frames)])]


_priorities: st.SearchStrategy[Priority] = st.sampled_from(HIGHEST_FIRST)
_signals: st.SearchStrategy[str | tuple[str, ...]] = st.sampled_from(
    ("*", "*", "SPEED", "S*", ("GEAR", "LEFT", "RIGHT"), "TORQUE", "byte*", "[BK]*", "SLOPE")
)
_messages: st.SearchStrategy[str | tuple[str, ...]] = st.sampled_from(
    ("*", "*", "DRIVE", "MODES", "0x7*", ("ENGINE", "DRIVE"))
)
_values: st.SearchStrategy[Value] = st.sampled_from(("last", "last", "first", "min", "max", "mean"))
_everys = st.sampled_from(("10ms", "100ms", "100ms", "300ms", "1s", "10s")).map(Duration.parse)


@st.composite
def rules(draw: st.DrawFn, rules_max: int = 4) -> list[CollectConfig]:
    """Rules of all kinds, alone and together."""
    return [draw(_rule()) for _ in range(draw(st.integers(1, rules_max)))]


@st.composite
def _rule(draw: st.DrawFn) -> CollectConfig:
    bus, message, signal = draw(st.sampled_from(("*", "*", "can1"))), draw(_messages), draw(_signals)
    if draw(st.integers(0, 7)) == 0:
        return CollectConfig(bus=bus, message=message, signal=signal, keep=False)
    on_change = draw(st.booleans())
    every = draw(st.none() | _everys)
    return CollectConfig(
        bus=bus,
        message=message,
        signal=signal,
        every=every,
        value=draw(_values) if every else "last",
        on_change=on_change,
        deadband=draw(st.sampled_from((None, 0.0, 0.5, 1.0, 2.0, 30.0))) if on_change else None,
        stale_after=draw(st.none() | st.sampled_from(("50ms", "2s")).map(Duration.parse)),
        priority=draw(_priorities),
    )
