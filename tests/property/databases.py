# SPDX-License-Identifier: Apache-2.0
"""Random databases as DBC text, and frames for them, such that cantools loads and decodes them.

`databases()` draws 1 to 3 messages of up to 8 signals: Intel and Motorola, 1 to 64 bits, signed, float32 and float64,
at any bit, ints and floats as scale and offset, value tables, 11- and 29-bit ids, up to 8 bytes or CAN FD's lengths,
and no, plain, nested or several multiplexors. No two signals of one frame overlap: cantools cannot decode those.
`frames(database)` draws payloads for its ids, most of the declared length, on request also others.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from hypothesis import strategies as st

from agent.model import EXTENDED, EXTENDED_MASK, STANDARD_MASK

FD_LENGTHS = (12, 16, 20, 24, 32, 48, 64)
NUMBERS = ("1", "2", "-3", "25", "1.0", "4.0", "0.1", "0.0625", "-0.39", "1E-06", "0.001953125", "1e3")
OFFSETS = ("0", "0", "0.0", "-40", "1577840400", "0.5", "-273.15", "1000.0")
LENGTHS = (1, 1, 2, 3, 4, 7, 8, 8, 12, 15, 16, 16, 24, 31, 32, 33, 48, 58, 63, 64)


@dataclass(frozen=True)
class Signal:
    """One signal to be; `mark` as in ``SG_``, `ranges` as in ``SG_MUL_VAL_`` (multiplexor, ranges)."""

    name: str
    start: int
    length: int
    little_endian: bool
    signed: bool = False
    is_float: bool = False
    scale: str = "1"
    offset: str = "0"
    choices: tuple[int, ...] = ()
    mark: str = ""
    ranges: tuple[str, tuple[tuple[int, int], ...]] | None = None

    @property
    def mask(self) -> int:
        """Its bits in the payload, numbered as they are sent."""
        if not self.little_endian:
            return ((1 << self.length) - 1) << (self.start ^ 7)
        return sum(1 << (bit ^ 7) for bit in range(self.start, self.start + self.length))

    def line(self) -> str:
        """Its ``SG_`` statement."""
        order, sign = ("1" if self.little_endian else "0"), ("-" if self.signed else "+")
        return (
            f" SG_ {self.name} {self.mark}: {self.start}|{self.length}@{order}{sign} "
            f'({self.scale},{self.offset}) [0|0] "" Vector__XXX'
        )


@dataclass(frozen=True)
class Message:
    """One message to be."""

    can_id: int
    name: str
    length: int
    signals: tuple[Signal, ...]

    def lines(self) -> list[str]:
        """Its statements."""
        lines = [
            f"BO_ {self.can_id} {self.name}: {self.length} Vector__XXX",
            *(signal.line() for signal in self.signals),
        ]
        for signal in self.signals:
            if signal.choices:
                pairs = " ".join(f'{value} "is {value}"' for value in signal.choices)
                lines.append(f"VAL_ {self.can_id} {signal.name} {pairs} ;")
            if signal.is_float:
                lines.append(f"SIG_VALTYPE_ {self.can_id} {signal.name} : {signal.length // 32};")
            if signal.ranges:
                spelled = ", ".join(f"{low}-{high}" for low, high in signal.ranges[1])
                lines.append(f"SG_MUL_VAL_ {self.can_id} {signal.name} {signal.ranges[0]} {spelled};")
        if self.length > 8:
            lines.append(f'BA_ "VFrameFormat" BO_ {self.can_id} {15 if self.can_id & EXTENDED else 14};')
        return lines


@dataclass(frozen=True)
class Database:
    """A database to be; `text` is its DBC file."""

    messages: tuple[Message, ...]

    @property
    def text(self) -> str:
        """The DBC file."""
        formats = ",".join(
            f'"{name}"'
            for name in (
                "StandardCAN",
                "ExtendedCAN",
                "reserved",
                "J1939PG",
                *["reserved"] * 10,
                "StandardCAN_FD",
                "ExtendedCAN_FD",
            )
        )
        head = [
            'VERSION ""',
            "BU_: Vector__XXX",
            f'BA_DEF_ BO_ "VFrameFormat" ENUM {formats};',
            'BA_DEF_DEF_ "VFrameFormat" "StandardCAN";',
        ]
        return "\n".join([*head, *(line for message in self.messages for line in message.lines()), ""])


@dataclass
class _Layout:
    """A message's bits, taken by signals that are in every frame, or by those that one branch selects."""

    bits: int
    taken: int = 0
    branches: dict[object, int] = field(default_factory=dict)

    def place(self, signal: Signal, branches: frozenset[object]) -> bool:
        """Take the signal's bits in these branches (in all frames where there are none), if they are free."""
        mask = signal.mask
        others = self.branches if not branches else {key: self.branches.get(key, 0) for key in branches}
        if mask >> self.bits or mask & self.taken or any(mask & bits for bits in others.values()):
            return False
        if not branches:
            self.taken |= mask
        for key in branches:
            self.branches[key] = self.branches.get(key, 0) | mask
        return True


@st.composite
def databases(draw: st.DrawFn, messages_max: int = 3) -> Database:
    """A database of 1 to `messages_max` messages."""
    standard = st.integers(0, STANDARD_MASK)
    extended = st.integers(0, EXTENDED_MASK).map(lambda number: number | EXTENDED)
    ids = draw(st.lists(standard | extended, min_size=1, max_size=messages_max, unique=True))
    return Database(tuple(draw(_messages(can_id, f"M{index}")) for index, can_id in enumerate(ids)))


@st.composite
def _messages(draw: st.DrawFn, can_id: int, name: str) -> Message:
    length = draw(st.integers(1, 8) | st.just(8) | st.sampled_from(FD_LENGTHS))
    layout = _Layout(8 * length)
    style = draw(st.sampled_from(("none", "plain", "nested", "several")))
    multiplexors = _multiplexors(draw, layout, style)
    signals = list(multiplexors)
    for index in range(draw(st.integers(0, 8))):
        signal, branches = _signal(draw, f"S{index}", length, style, multiplexors)
        if layout.place(signal, branches):
            signals.append(signal)
    return Message(can_id, name, length, tuple(signals))


def _multiplexors(draw: st.DrawFn, layout: _Layout, style: str) -> list[Signal]:
    """The multiplexors of a message, none where they found no room."""
    wanted = {"none": 0, "plain": 1, "nested": 2, "several": 2}[style]
    placed: list[Signal] = []
    for name, mark, bits in (("A", "M", 3), ("B", "m1M" if style == "nested" else "M", 2))[:wanted]:
        ranges = ("A", ((1, 2),)) if mark == "m1M" else None
        little_endian = draw(st.booleans())
        start = draw(st.integers(0, layout.bits - 1))
        signal = Signal(name, start, bits, little_endian, mark=mark, ranges=ranges)
        if not layout.place(signal, frozenset()):
            break
        placed.append(signal)
    if len(placed) < wanted:
        for signal in placed:
            layout.taken &= ~signal.mask
        return []
    return placed


def _signal(
    draw: st.DrawFn, name: str, message_bytes: int, style: str, multiplexors: list[Signal]
) -> tuple[Signal, frozenset[object]]:
    """A signal, and the branches that it is in."""
    is_float = draw(st.integers(0, 5)) == 0
    length = draw(st.sampled_from((32, 64) if is_float else LENGTHS))
    little_endian = draw(st.booleans())
    room = max(0, 8 * message_bytes - length)
    sent_first = draw(st.integers(0, room))
    signal = Signal(
        name=name,
        start=sent_first if little_endian else sent_first ^ 7,
        length=length,
        little_endian=little_endian,
        signed=draw(st.booleans()),
        is_float=is_float,
        scale=draw(st.sampled_from(NUMBERS)),
        offset=draw(st.sampled_from(OFFSETS)),
        choices=() if is_float or draw(st.booleans()) else tuple(draw(st.sets(st.integers(0, 9), max_size=3))),
    )
    if not multiplexors or draw(st.booleans()):
        return signal, frozenset()
    chosen = draw(st.sampled_from(multiplexors))
    values = 1 << chosen.length
    low = draw(st.integers(0, values - 1))
    if style == "plain":
        return replace(signal, mark=f"m{low}"), frozenset({("A", low)})
    high = draw(st.integers(low, values - 1))
    more = draw(st.integers(0, values - 1))
    ranges = ((low, high), (more, more))
    branches = frozenset((chosen.name, value) for a, b in ranges for value in range(a, b + 1))
    if style == "nested" and chosen.name == "B":
        branches |= {("A", 1), ("A", 2)}
    if style == "several":  # any two of them may meet in a frame
        branches = frozenset({("any", 0)})
    return replace(signal, mark=f"m{low}", ranges=(chosen.name, ranges)), branches


@st.composite
def frames(
    draw: st.DrawFn, database: Database, frames_max: int = 12, *, other_lengths: bool = False
) -> list[tuple[int, bytes]]:
    """(arbitration id word, payload) of frames of the database's messages, in the order received."""
    drawn = []
    for message in draw(st.lists(st.sampled_from(database.messages), min_size=1, max_size=frames_max)):
        length = message.length
        if other_lengths and draw(st.integers(0, 3)) == 0:
            length = draw(st.integers(0, 8)) if length <= 8 else draw(st.sampled_from((8, *FD_LENGTHS)))
        drawn.append((message.can_id, draw(st.binary(min_size=length, max_size=length))))
    return drawn
