# SPDX-License-Identifier: Apache-2.0
"""Parquet in a folder: a file for each message, or partitions by vehicle and day as Hive and Arrow have them.

    long, partitioned   DIR/vehicle=car-1/day=2026-03-02/part-0.parquet
    wide                DIR/can0.STEER.parquet                             one table a message, see wide.py
    wide, partitioned   DIR/can0.STEER/vehicle=car-1/day=2026-03-02/part-0.parquet

Days are UTC. Windows ascend in time, so that one day is open at a time.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from agent.receiver.parquet import ParquetWriter
from agent.receiver.wide import WideWriter, file_name
from agent.receiver.windows import cut

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from agent.model import Event
    from agent.receiver.windows import Part
    from agent.receiver.writers import Writer

_DAY_NS = 86_400 * 10**9
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def folder_writer(folder: Path, vehicle: str, *, wide: bool, partition: bool) -> Writer:
    """A writer of one vehicle's windows into a folder, as one of the three above."""
    if not partition:
        return WideWriter(lambda name, number: folder / f"{_numbered(name, number)}.parquet")

    def of_day(day: str) -> Writer:
        inner = f"vehicle={file_name(vehicle)}/day={day}"
        if wide:
            return WideWriter(lambda name, number: folder / name / inner / f"part-{number}.parquet")
        (folder / inner).mkdir(parents=True, exist_ok=True)
        return ParquetWriter(folder / inner / "part-0.parquet")

    return ByDay(of_day)


class ByDay:
    """Gives each day's rows to a writer of its own."""

    def __init__(self, make: Callable[[str], Writer]) -> None:
        self._make = make
        self._day: int | None = None
        self._writer: Writer | None = None

    def write(self, window: list[Part], events: Sequence[Event] = ()) -> None:
        """Take a window's rows; events go with its first day."""
        days = np.unique(np.concatenate([np.empty(0, np.int64), *(part.time_ns // _DAY_NS for part in window)]))
        for day in days.tolist():
            self._writer_of(day).write(cut(window, day * _DAY_NS, (day + 1) * _DAY_NS), events)
            events = ()

    def close(self) -> None:
        """Complete the last day's file."""
        if self._writer is not None:
            self._writer.close()

    def _writer_of(self, day: int) -> Writer:
        if self._writer is None or day != self._day:
            self.close()
            self._day, self._writer = day, self._make(f"{_EPOCH + timedelta(days=day):%Y-%m-%d}")
        return self._writer


def _numbered(name: str, number: int) -> str:
    return f"{name}+{number}" if number else name
