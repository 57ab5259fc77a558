# SPDX-License-Identifier: Apache-2.0
"""What crosses the borders between rooms: frozen, slotted, with shapes, dtypes and units.

Arbitration ids are 32-bit words: the low 11 or 29 bits are the identifier, bit 31 (`EXTENDED`) says that it
is a 29-bit one, as in Linux' ``struct can_frame`` (linux/can.h), so that 0x123 and 0x00000123x never meet.
Times are nanoseconds since the UNIX epoch by the wall clock, int64. Raw values are the signal's field bits,
unsigned, in a uint64; sign, float and scaling are applied by a reader.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

EXTENDED = 0x8000_0000
"""Bit 31 of an arbitration id word: CAN_EFF_FLAG, a 29-bit identifier."""
STANDARD_MASK = 0x7FF
EXTENDED_MASK = 0x1FFF_FFFF
DRAIN_FRAMES_MAX = 4096
"""Of one drain of a source; one that gave as many may have more."""


class FrameFlag(enum.IntFlag):
    """Bits of `FrameBlock.flags`, numbered as in Linux' ``struct canfd_frame`` (linux/can.h)."""

    BRS = 0x01
    ESI = 0x02
    FD = 0x04


@dataclass(frozen=True, slots=True)
class FrameBlock:
    """Data frames in the order they were received; error and remote frames are counted, not carried.

    time_ns  int64  (n,)
    bus      uint8  (n,)         index into the configured buses
    can_id   uint32 (n,)         arbitration id word, `EXTENDED` in bit 31
    length   uint8  (n,)         payload bytes, 0…8 or 0…64
    flags    uint8  (n,)         `FrameFlag` bits
    data     uint8  (n, width)   C-contiguous; width 8 where no frame is longer, else 64; zero past `length`
    """

    time_ns: NDArray[np.int64]
    bus: NDArray[np.uint8]
    can_id: NDArray[np.uint32]
    length: NDArray[np.uint8]
    flags: NDArray[np.uint8]
    data: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.time_ns)

    @classmethod
    def empty(cls) -> FrameBlock:
        """A block of no frames."""
        return cls(
            np.empty(0, np.int64),
            np.empty(0, np.uint8),
            np.empty(0, np.uint32),
            np.empty(0, np.uint8),
            np.empty(0, np.uint8),
            np.empty((0, 8), np.uint8),
        )

    def slice(self, begin: int, end: int) -> FrameBlock:
        """Rows begin to end, views where possible; no wider than they need."""
        length = self.length[begin:end]
        data = self.data[begin:end]
        if data.shape[1] > 8 and length.max(initial=0) <= 8:
            data = np.ascontiguousarray(data[:, :8])
        return FrameBlock(
            self.time_ns[begin:end], self.bus[begin:end], self.can_id[begin:end], length, self.flags[begin:end], data
        )

    def chosen(self, rows: NDArray[np.bool_]) -> FrameBlock:
        """Some of the frames; itself where it is all of them. rows: bool (n,)."""
        if rows.all():
            return self
        return FrameBlock(
            self.time_ns[rows],
            self.bus[rows],
            self.can_id[rows],
            self.length[rows],
            self.flags[rows],
            self.data[rows],
        )

    @classmethod
    def concatenate(cls, blocks: list[FrameBlock]) -> FrameBlock:
        """One block of all frames, in the order given; as wide as the widest."""
        blocks = [block for block in blocks if len(block)]
        if not blocks:
            return cls.empty()
        if len(blocks) == 1:
            return blocks[0]
        width = max(block.data.shape[1] for block in blocks)
        data = np.zeros((sum(map(len, blocks)), width), np.uint8)
        row = 0
        for block in blocks:
            data[row : row + len(block), : block.data.shape[1]] = block.data
            row += len(block)
        return cls(
            np.concatenate([block.time_ns for block in blocks]),
            np.concatenate([block.bus for block in blocks]),
            np.concatenate([block.can_id for block in blocks]),
            np.concatenate([block.length for block in blocks]),
            np.concatenate([block.flags for block in blocks]),
            data,
        )


@dataclass(frozen=True, slots=True)
class SourceCounters:
    """What a source has seen since it was opened; the numbers only grow.

    frames          data frames delivered
    dropped         frames lost before they could be read (kernel: SO_RXQ_OVFL; others: a full queue)
    error_frames    error frames, by bus name
    remote_frames   remote frames, by bus name
    """

    frames: int = 0
    dropped: int = 0
    error_frames: dict[str, int] = field(default_factory=dict)
    remote_frames: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SignalDefinition:
    """One signal of a message, as the DBC file's ``SG_`` line says.

    start           the DBC's start bit: least significant bit for Intel, most significant for Motorola
    length          bits, 1…64
    little_endian   Intel byte order
    scale, offset   physical = raw * scale + offset; both int where the DBC's are whole numbers
    choices         value table, (raw value, name)
    multiplexor     other signals of the message are selected by this one's raw value
    selected_by     name of the multiplexor that selects this signal, None where it is always present
    selected_when   inclusive ranges of that multiplexor's raw value
    counter         it counts the frames of its message; not in catalogs
    """

    name: str
    start: int
    length: int
    little_endian: bool = True
    signed: bool = False
    is_float: bool = False
    scale: int | float = 1
    offset: int | float = 0
    unit: str = ""
    minimum: int | float | None = None
    maximum: int | float | None = None
    choices: tuple[tuple[int, str], ...] = ()
    multiplexor: bool = False
    selected_by: str | None = None
    selected_when: tuple[tuple[int, int], ...] = ()
    counter: bool = False


@dataclass(frozen=True, slots=True)
class MessageDefinition:
    """One message on one bus, as the DBC file's ``BO_`` line says.

    bus         name of the configured bus
    can_id      arbitration id word, `EXTENDED` in bit 31
    length      payload bytes that the DBC declares
    j1939       matched by PGN: priority, source address and (PDU1) destination are not compared (SAE J1939-21, 5.2)
    cycle_ms    GenMsgCycleTime, 0 where not declared
    cyclic      it is sent in these cycles all the time, as far as GenMsgSendType says; not in catalogs
    """

    bus: str
    can_id: int
    name: str
    length: int
    signals: tuple[SignalDefinition, ...]
    j1939: bool = False
    cycle_ms: int = 0
    cyclic: bool = True


@dataclass(frozen=True, slots=True)
class ClockReading:
    """The clocks of a unit, read together.

    boot_id        16 bytes: the boot that `monotonic_ns` counts from; b"" where it is unknown
    wall_ns        the wall clock
    monotonic_ns   since the boot, time spent suspended included
    trusted        the wall clock is known to be right
    holds          of a batch: all its times are by the wall clock as it was set at this reading; else by what the wall
                   clock said when each frame came
    """

    boot_id: bytes = b""
    wall_ns: int = 0
    monotonic_ns: int = 0
    trusted: bool = False
    holds: bool = False

    @property
    def offset_ns(self) -> int:
        """The wall clock less the monotonic one."""
        return self.wall_ns - self.monotonic_ns


@dataclass(frozen=True, slots=True, order=True)
class BatchId:
    """Names a batch for ever: a stream is made once, its sequence numbers are never used again."""

    vehicle: str
    stream: str
    sequence: int


class GapKind(enum.StrEnum):
    """Why something is missing."""

    DROPPED = "dropped"  # the kernel or a source's queue was full
    EVICTED = "evicted"  # the spool was full: oldest batches went
    CORRUPT = "corrupt"  # a stored record failed its checksum
    REFUSED = "refused"  # the broker will never take this batch: set aside
    INTERRUPTED = "interrupted"  # the agent ended without sealing: power cut, kill, crash
    CUT = "cut"  # no loss: larger than the broker takes, so it came in later batches
    ENDED = "ended"  # no loss: these are all batches that a stream has, for another one has begun


@dataclass(frozen=True, slots=True)
class Gap:
    """Something that the receiver will never get, told so that it can name it.

    kind               a `GapKind`; of a later version perhaps another word
    begin_ns, end_ns   what is missing lies between these times; 0 where unknown
    frames             how many frames, -1 where nobody can know
    stream, first_sequence, last_sequence   the batches that are missing, "" and -1 where no batch was sealed
    detail             for a person
    """

    kind: str
    begin_ns: int = 0
    end_ns: int = 0
    frames: int = -1
    stream: str = ""
    first_sequence: int = -1
    last_sequence: int = -1
    detail: str = ""


@dataclass(frozen=True, slots=True)
class SealedBatch:
    """A batch as opaque bytes, and what storing and sending it takes without opening them.

    payload            what is stored and published
    catalog            hash of the catalog that its numbers refer to, "" for none
    begin_ns, end_ns   earliest and latest time of its frames
    frames             received; where another stream counts them, those with samples
    gaps               those that it reports
    """

    payload: bytes
    catalog: str
    begin_ns: int
    end_ns: int
    frames: int
    gaps: tuple[Gap, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SpooledBatch(SealedBatch):
    """The same as the spool hands it out, with the names that the spool has for it; its gaps are not read back.

    vehicle    whose batch it is, "" for the configured one
    stream     what its number belongs to
    number     in the stream: the sequence number of the batch's id
    sequence   the spool's own number for it, which goes on over all of its streams
    """

    vehicle: str = ""
    stream: str
    number: int
    sequence: int


class EventKind(enum.StrEnum):
    """What has happened."""

    ABSENT = "absent"  # a message fell silent: its signals are not known any more
    BACK = "back"  # it has come again
    TRIGGERED = "triggered"  # a trigger's condition has become true; its window is being recorded
    WRONG = "wrong"  # frames came whose checksum is not theirs, or whose counter cannot be
    MISSING = "missing"  # a message's counter has jumped: frames were lost on the way
    REPEATED = "repeated"  # a message's counter stands still


@dataclass(frozen=True, slots=True)
class Event:
    """What collecting has to tell beside samples.

    kind      an `EventKind`; of a later version perhaps another word
    time_ns   the frame's own time: the last one before a silence, the first one after it, the one that triggered, the
              first that was wrong
    subject   bus.message, or the trigger's name
    can_id    arbitration id word of the message, 0 for a trigger
    detail    for a person
    """

    kind: str
    time_ns: int
    subject: str
    can_id: int = 0
    detail: str = ""


@dataclass(frozen=True, slots=True)
class SignalBlock:
    """Decoded frames, grouped by (message, bus, arbitration id) and laid out in columns of raw field bits.

    A *group* is all frames of one arbitration id on one bus; its message is -1 for an id that no DBC knows,
    and its signals are then the payload's bytes 0…63. A *shape* is the set of signals that a frame carries:
    frames of a multiplexed message, and short ones, have other shapes than the whole message. Column c holds
    signal `column_signal[c]` of group `column_group[c]` for those rows of the group, in order, whose shape
    carries it.

    group_key      uint64 (G,)    `group_key()` of message, bus and id; ascending, each once
    row_start      int64  (G+1,)  group g has rows row_start[g]…row_start[g+1]
    time_ns        int64  (R,)    in order of arrival within a group
    shape          int32  (R,)    index into `shapes`
    column_group   int32  (C,)    index into the groups; ascending
    column_signal  int32  (C,)    index into the message's signals; ascending within a group
    column_start   int64  (C+1,)  column c has values column_start[c]…column_start[c+1]
    values         uint64 (V,)    raw field bits, unsigned, not sign-extended
    bits           uint8  (C,)    field length of the column's signal, 1…64
    shapes         for each shape its signal indexes, ascending; only ever appended to
    """

    group_key: NDArray[np.uint64]
    row_start: NDArray[np.int64]
    time_ns: NDArray[np.int64]
    shape: NDArray[np.int32]
    column_group: NDArray[np.int32]
    column_signal: NDArray[np.int32]
    column_start: NDArray[np.int64]
    values: NDArray[np.uint64]
    bits: NDArray[np.uint8]
    shapes: list[tuple[int, ...]]

    def __len__(self) -> int:
        return len(self.time_ns)

    @classmethod
    def empty(cls) -> SignalBlock:
        """A block of no frames."""
        none, start = np.empty(0, np.int32), np.zeros(1, np.int64)
        times, values = np.empty(0, np.int64), np.empty(0, np.uint64)
        return cls(values, start, times, none, none, none, start, values, np.empty(0, np.uint8), [])


MESSAGE_SHIFT = np.uint64(40)
"""Where a `group_key`'s message begins; 0 there is -1, and so on."""


def group_key(message: int, bus: int, can_id: int) -> int:
    """The sort key of a group: message + 1 in bits 40…63, bus in 32…39, arbitration id word in 0…31."""
    return (message + 1) << 40 | bus << 32 | can_id


def split_group_key(key: int) -> tuple[int, int, int]:
    """Message (-1 for raw frames), bus and arbitration id word of a `group_key`."""
    return (key >> 40) - 1, key >> 32 & 0xFF, key & 0xFFFF_FFFF


RAW_SIGNALS = tuple(SignalDefinition(f"byte{n}", 8 * n, 8) for n in range(64))
"""The signals of a raw frame: the bytes of its payload."""
