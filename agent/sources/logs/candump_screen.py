# SPDX-License-Identifier: Apache-2.0
"""What candump prints for people (without ``-L`` and ``-l``), as the lines of a log that it would have written.

Promise: each line with a frame and a time becomes its line of a candump log, in its place. Any other line stays as
it is, so candump.py refuses it; a frame with fewer bytes than it says is one of them.

    (1436509052.249713)  can0  1A0   [8]  11 22 33 44 55 66 77 88      -t a: since the epoch
    (2015-07-10 06:17:32.249713)  can0  18FEF100   [1]  11             -t A: local time, of whoever reads it
    (000.010002)  can0  1A0   [2]  41 42                     'AB'      -t z, -t d: see below; -a: the bytes as text
    (000.010002)  can0  RX B -  123  [12]  11 22 …                     -x: direction, BRS, ESI; FD: two digits of length
    (000.010002)  can0  123   [8]  remote request
    (000.010002)  can0  20000080   [8]  00 00 00 00 00 00 00 00   ERRORFRAME
    (1436509052.249713123)  can0  1A0   {F}  11 22 33 44 55 66 77 88   -N: nanoseconds; -8: the data length code as sent

Limits: some 3 µs a line, five times what a log of ``-L`` costs. Of FD frames ``-x`` alone tells the flags. Times since
the first frame (z) and since the one before (d) look alike: those that rise all through the beginning are of the
former kind, and of a log of two or three lines that is a guess. Either are times since the log's beginning. Bytes
that are swapped (``-S``) or binary (``-i``), and colours, are not read.

Failure: a log without times is a LogFileError that says how to record one with them.
"""

from __future__ import annotations

import re
import time
from itertools import chain, islice
from statistics import median
from typing import TYPE_CHECKING

from agent.errors import LogFileError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent.sources.logs.items import LogDate

_LINE = re.compile(
    rb"^ *(?:\((?P<time>[-\d: ]+\.(?:\d{9}|\d{6}))\) +)?(?P<bus>\S+) +(?:[RT]X (?P<brs>[B-]) (?P<esi>[E-]) +)?"
    rb"(?P<id>[0-9A-F]{8}|[0-9A-F]{3}) +(?:\[(?P<length>\d\d?)\]|\{(?P<code>[0-9A-F])\}) ?(?P<data>(?: [0-9A-F]{2})*)"
    rb" *(?:(?P<remote>remote request)|ERRORFRAME|'.*')?[ \r]*$",
    re.MULTILINE,
)
_LOOK_BYTES = 4096
_TIMES = 4000
"""So many tell which kind they are."""
_EPOCH_DIGITS = 10
_HINT = "candump -L can0 > drive.log (or -l) records them, candump -t a prints them"


def as_log(pieces: Iterator[bytes], date: LogDate) -> Iterator[bytes]:
    """The pieces of a candump log, or of what candump prints, as pieces of a log; `date` is told where it has none."""
    date.tell(0, "")
    first = next(pieces, b"")
    if not _LINE.search(first, 0, _LOOK_BYTES):
        yield from chain([first] if first else [], pieces)
        return
    screen = _Screen(first)
    if screen.undated:
        date.missing = "candump's times are since its beginning"
    for text in chain([first], pieces):
        yield screen.as_log(text)


class _Screen:
    """The kind of times, and how far they have come."""

    def __init__(self, beginning: bytes) -> None:
        times = [match["time"] for match in islice(_LINE.finditer(beginning), _TIMES)]
        if None in times:
            raise LogFileError(f"frames without times: {_HINT}")
        seconds = times[0].partition(b".")[0]
        self._dated = b"-" in seconds
        self.undated = not self._dated and len(seconds) < _EPOCH_DIGITS
        self._summed = self.undated and not _rise(list(map(float, times)))
        self._date, self._date_s = b"", 0
        self._now_ns = 0

    def as_log(self, text: bytes) -> bytes:
        """These lines as a log's."""
        return _LINE.sub(self._line, text)

    def _line(self, match: re.Match[bytes]) -> bytes:
        told, bus, brs, esi, can_id, length, code, data, remote = match.groups()
        if told is None:
            return match[0]
        try:
            when = self._time(told)
        except (ValueError, OverflowError):
            return match[0]
        payload = data.replace(b" ", b"")
        if code:
            length = b"%d" % min(int(code, 16), 8)
        if remote:
            payload = b"R" + length
        elif len(payload) != 2 * int(length):
            return match[0]
        elif len(length) > 1:
            payload = b"#%d%b" % ((brs == b"B") | (esi == b"E") << 1, payload)
        return b"(%b) %b %b#%b R" % (when, bus, can_id, payload)  # whatever the direction: it says that no byte follows

    def _time(self, told: bytes) -> bytes:
        """Seconds, as a log has them; ValueError or OverflowError where it is no time."""
        seconds, _, fraction = told.partition(b".")
        if self._summed:
            self._now_ns += int(seconds) * 1_000_000_000 + int(fraction.ljust(9, b"0"))
            return b"%d.%09d" % divmod(self._now_ns, 1_000_000_000)
        if not self._dated:
            return told
        if seconds != self._date:
            self._date, self._date_s = seconds, int(time.mktime(time.strptime(seconds.decode(), "%Y-%m-%d %H:%M:%S")))
        return b"%d.%b" % (self._date_s, fraction)


def _rise(times: list[float]) -> bool:
    """Whether times go on, as those since the first frame do; frames of two buses may be a little out of order."""
    half = len(times) // 2
    return len(times) < 3 or median(times[half:]) > max(times[:half])
