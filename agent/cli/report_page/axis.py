# SPDX-License-Identifier: Apache-2.0
"""Time in columns: the drives of a recording side by side, each as wide as it is long, the pauses between left out.

    |------------- drive ------------- drive ----|
    0                                  columns - 1

Limits: at most `DRIVES_MAX` drives, of more the shortest pauses are drawn; a drive is at least one column wide.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

COLUMNS = 800
PAUSE_NS = 600 * 10**9
"""Without a frame for longer than this, the drive is over."""
DRIVES_MAX = 40


@dataclass(frozen=True, slots=True)
class Drive:
    """Frames of `begin_ns` to `end_ns` lie in `columns` columns from the column `first` on."""

    begin_ns: int
    end_ns: int
    first: int
    columns: int

    @property
    def column_ns(self) -> float:
        """How long a column is."""
        return (self.end_ns - self.begin_ns + 1) / self.columns


class Axis:
    """The columns of some drives; between two of them one stays empty."""

    def __init__(self, spans: Iterable[tuple[int, int]], columns: int = COLUMNS) -> None:
        joined = _joined(sorted(spans))
        whole = sum(end - begin + 1 for begin, end in joined)
        drives, first = [], 0
        for begin, end in joined:
            width = max(1, round((columns - len(joined) + 1) * (end - begin + 1) / whole))
            drives.append(Drive(begin, end, first, width))
            first += width + 1
        self.drives = tuple(drives)
        self.columns = max(first - 1, 1)
        self._begin = np.array([drive.begin_ns for drive in drives], np.int64)
        self._span = np.array([drive.end_ns - drive.begin_ns + 1 for drive in drives], np.float64)
        self._first = np.array([drive.first for drive in drives], np.int64)
        self._width = np.array([drive.columns for drive in drives], np.int64)

    @property
    def span_ns(self) -> int:
        """How long all drives are together."""
        return sum(drive.end_ns - drive.begin_ns for drive in self.drives)

    @property
    def column_ns(self) -> float:
        """How long a column is, of the widest drive."""
        return max((drive.column_ns for drive in self.drives), default=1.0)

    def columns_of(self, time_ns: NDArray[np.int64]) -> NDArray[np.int64]:
        """The column of each time; what lies in a pause goes to the end of the drive before it."""
        drive = np.maximum(np.searchsorted(self._begin, time_ns, side="right") - 1, 0)
        within = (time_ns - self._begin[drive]) / self._span[drive] * self._width[drive]
        column: NDArray[np.int64] = np.clip(within.astype(np.int64), 0, self._width[drive] - 1) + self._first[drive]
        return column

    def bounds(self, begin_ns: int, end_ns: int) -> tuple[int, int] | None:
        """First and last column of a time that something took; None where it is not known, or outside of all drives."""
        if not self.drives or not end_ns or end_ns < self.drives[0].begin_ns or begin_ns > self.drives[-1].end_ns:
            return None
        first, last = self.columns_of(np.array([max(begin_ns, self.drives[0].begin_ns), end_ns])).tolist()
        return first, last


def _joined(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The spans without what overlaps, and without all pauses but the longest ones."""
    apart: list[tuple[int, int]] = []
    for begin, end in spans:
        if apart and begin - apart[-1][1] <= PAUSE_NS:
            apart[-1] = (apart[-1][0], max(apart[-1][1], end))
        else:
            apart.append((begin, end))
    pauses = sorted((apart[n + 1][0] - apart[n][1] for n in range(len(apart) - 1)), reverse=True)
    if len(apart) <= DRIVES_MAX:
        return apart
    least = pauses[DRIVES_MAX - 2]
    joined = apart[:1]
    for begin, end in apart[1:]:
        if begin - joined[-1][1] < least or len(joined) == DRIVES_MAX:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((begin, end))
    return joined
