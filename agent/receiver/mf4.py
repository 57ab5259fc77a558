# SPDX-License-Identifier: Apache-2.0
"""Signals as an ASAM MDF 4.10 measurement.

One channel group per message of a bus, and per arbitration id where several ids carry it (SAE J1939), named
``bus.message``; its comment has the id. A channel holds raw values, with the DBC's scaling and value table as its
conversion and the DBC's unit; a sample that its frame did not carry (multiplexed, or a short frame) is marked
invalid. Raw frames of an unknown id are the group ``bus.unknown 0x…`` with a channel for each byte.

Times are float64 seconds after the measurement's start, the second in which the first frame was received. MDF counts
the start from 1970 on and has no earlier one: frames from before, of a clock that was set wrong, are at negative times
after 1970 began.
Limits: `ROWS` rows wait in memory; the rest lies in asammdf's temporary file until `close`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
from asammdf import MDF, Signal

from agent.model import RAW_SIGNALS
from agent.physical import numeric, reads_as_float

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from agent.model import Event, SignalDefinition
    from agent.receiver.windows import WindowPart

ROWS = 200_000
_SECOND_NS = 10**9


@dataclass(slots=True)
class _ChannelGroup:
    """Rows that wait to be written, and where to: `index` in the file, None before the first are."""

    name: str
    comment: str
    signals: tuple[SignalDefinition, ...]
    index: int | None = None
    pieces: list[tuple[NDArray[np.int64], list[NDArray[Any]], list[NDArray[np.bool_]]]] = field(default_factory=list)


class Mf4Writer:
    """Collects windows into channel groups."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = MDF(version="4.10")
        self._groups: dict[tuple[str, str | None, int, int], _ChannelGroup] = {}
        self._start_ns: int | None = None
        self._waiting = 0

    def write(self, window: list[WindowPart], events: Sequence[Event] = ()) -> None:  # noqa: ARG002
        """Take the window's rows. Events have no place here."""
        if not window:
            return
        if self._start_ns is None:
            first = min(int(part.time_ns.min()) for part in window)
            self._start_ns = max(0, first // _SECOND_NS * _SECOND_NS)
            self._file.header.start_time = datetime.fromtimestamp(self._start_ns // _SECOND_NS, UTC)
        for part in window:
            self._group_of(part).pieces.append(_piece(part))
            self._waiting += len(part.rows)
        if self._waiting >= ROWS:
            self._flush()

    def close(self) -> None:
        """Write the file."""
        self._flush()
        # asammdf appends its own suffix to a name that has another
        saved = self._file.save(self._path.with_suffix(".mf4"), overwrite=True, compression=1)
        self._file.close()
        saved.replace(self._path)

    def _group_of(self, part: WindowPart) -> _ChannelGroup:
        signals = part.message.signals if part.message else RAW_SIGNALS[: _width(part)]
        name = part.message.name if part.message else None
        key = (part.bus, name, part.group.can_id, len(signals))
        if key not in self._groups:
            number = f"0x{part.can_id:0{8 if part.extended else 3}X}"
            self._groups[key] = _ChannelGroup(f"{part.bus}.{name or f'unknown {number}'}", f"id {number}", signals)
        return self._groups[key]

    def _flush(self) -> None:
        for group in self._groups.values():
            if group.pieces:
                self._write_group(group)
                group.pieces = []
        self._waiting = 0

    def _write_group(self, group: _ChannelGroup) -> None:
        time_ns = np.concatenate([piece[0] for piece in group.pieces])
        order = np.argsort(time_ns, kind="stable")
        seconds = (time_ns[order] - (self._start_ns or 0)) / _SECOND_NS
        samples = [
            np.concatenate([piece[1][place] for piece in group.pieces])[order] for place in range(len(group.signals))
        ]
        invalid = [
            np.concatenate([piece[2][place] for piece in group.pieces])[order] for place in range(len(group.signals))
        ]
        if group.index is not None:
            pairs = [(seconds, None), *zip(samples, invalid, strict=True)]
            self._file.extend(group.index, pairs)
            return
        channels = [
            Signal(
                values,
                seconds,
                name=signal.name,
                unit=signal.unit,
                conversion=conversion(signal),
                invalidation_bits=absent,
            )
            for signal, values, absent in zip(group.signals, samples, invalid, strict=True)
        ]
        if channels:
            group.index = self._file.append(channels, acq_name=group.name, comment=group.comment, common_timebase=True)


def conversion(signal: SignalDefinition) -> dict[str, Any] | None:
    """Scaling and value table, in asammdf's terms: the table's texts, and the line for all other values."""
    line = {"a": float(signal.scale), "b": float(signal.offset)}
    if not signal.choices:
        return None if line == {"a": 1.0, "b": 0.0} else line
    table: dict[str, Any] = {}
    for number, (value, text) in enumerate(sorted(dict(signal.choices).items())):
        table |= {f"lower_{number}": value, f"upper_{number}": value, f"text_{number}": text}
    return {**table, "default_addr": line}


def _piece(part: WindowPart) -> tuple[NDArray[np.int64], list[NDArray[Any]], list[NDArray[np.bool_]]]:
    signals = part.message.signals if part.message else RAW_SIGNALS[: _width(part)]
    samples = [np.zeros(len(part.rows), _kind(signal)) for signal in signals]
    invalid = [np.ones(len(part.rows), np.bool_) for _ in signals]
    for shaped in part.shaped():
        for number in shaped.signals:
            samples[number][shaped.index] = numeric(signals[number], shaped.raw(number))
            invalid[number][shaped.index] = False
    return part.time_ns, samples, invalid


def _width(part: WindowPart) -> int:
    return 8 if all(len(shape) <= 8 for shape in part.group.shapes) else 64


def _kind(signal: SignalDefinition) -> np.dtype[Any]:
    if reads_as_float(signal):
        return np.dtype(np.float64 if signal.length == 64 else np.float32)
    size = next(size for size in (8, 16, 32, 64) if signal.length <= size)
    return np.dtype(f"{'int' if signal.signed else 'uint'}{size}")
