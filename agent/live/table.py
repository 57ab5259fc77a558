# SPDX-License-Identifier: Apache-2.0
"""Live signals as a table drawn in place on a terminal, or as lines for pipes. Pure: messages in, text out."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from agent.live.status_screen import duration
from agent.model import EXTENDED, EXTENDED_MASK
from agent.system.printable import printable, printable_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from agent.live.signals import LiveMessage, Sample

HOME, CLEAR_LINE, CLEAR_REST = "\x1b[H", "\x1b[K", "\x1b[J"
HIDE_CURSOR, SHOW_CURSOR, CLEAR = "\x1b[?25l", "\x1b[?25h", "\x1b[2J"
_CHANGED, _STALE, _PLAIN = "\x1b[1;33m", "\x1b[2m", "\x1b[0m"
STALE_S = 5.0
_VALUE_WIDTH = 14


class Table:
    """The latest of every message that was shown, on one screen."""

    def __init__(self) -> None:
        self._messages: dict[tuple[str, int], LiveMessage] = {}

    def draw(self, messages: Iterable[LiveMessage], now_ns: int, skipped: int, width: int, height: int) -> str:
        """The screen after an update, as text that draws over the one before."""
        updated = {(message.bus, message.can_id): message for message in messages}
        self._messages |= updated
        rows = [
            (message, sample, key in updated)
            for key, message in sorted(self._messages.items())
            for sample in message.samples
        ]
        most = max(1, height - 2)
        longest = max((len(_name(message, sample)) for message, sample, _ in rows), default=0)
        lines = [self._line(message, sample, fresh, now_ns, width, longest) for message, sample, fresh in rows[:most]]
        left_out = f", {len(rows) - most} more: choose with --bus, --message, --signal" if len(rows) > most else ""
        missed = f", {skipped} updates skipped" if skipped else ""
        foot = f"{len(rows)} signals of {len(self._messages)} messages{left_out}{missed}"
        if not rows:
            foot = "none of these has come yet, or the condition is not true; canferry status tells of the buses"
        return HOME + "".join(f"{line}{CLEAR_LINE}\n" for line in [*lines, foot[:width]]) + CLEAR_REST

    def _line(self, message: LiveMessage, sample: Sample, fresh: bool, now_ns: int, width: int, longest: int) -> str:
        age_s = max(0.0, (now_ns - message.time_ns) / 1e9)
        name = _name(message, sample)
        age = f"  {duration(age_s)} ago" if age_s >= STALE_S else ""
        value = value_text(sample)
        name_width = min(longest, max(16, width - max(len(value), _VALUE_WIDTH) - len(age) - 2))
        if len(name) > name_width:
            name = "…" + name[1 - name_width :]
        colour = _CHANGED if sample.changed and fresh else _STALE if age else ""
        return f"{name.ljust(name_width)}  {colour}{value.rjust(_VALUE_WIDTH)}{age}{_PLAIN if colour else ''}"


def _name(message: LiveMessage, sample: Sample) -> str:
    return ".".join(map(printable, (message.bus, message.message, sample.signal)))


def lines(messages: Iterable[LiveMessage]) -> Iterator[str]:
    """For pipes and people: one line a signal."""
    for message in messages:
        for sample in message.samples:
            yield f"{message.time_ns / 1e9:.6f} {_name(message, sample)} {value_text(sample)}"


def json_line(message: LiveMessage) -> str:
    """One line a message: as ``canferry export`` writes it, with units, value names and the count of its frames."""
    document = {
        "t": message.time_ns / 1e9,
        "bus": message.bus,
        "id": message.can_id & EXTENDED_MASK,
        "extended": bool(message.can_id & EXTENDED),
        "message": message.message if message.known else None,
        "count": message.count,
        "signals": {sample.signal: sample.value for sample in message.samples},
        "units": {sample.signal: sample.unit for sample in message.samples if sample.unit},
        "names": {sample.signal: sample.name for sample in message.samples if sample.name},
    }
    return printable_json(json.dumps(document, ensure_ascii=False))


def value_text(sample: Sample) -> str:
    """A value for a person."""
    value = sample.value if isinstance(sample.value, str) else f"{sample.value:.10g}"
    if isinstance(sample.value, int):
        value = str(sample.value)
    unit, name = printable(sample.unit), printable(sample.name)
    return " ".join(part for part in (value, unit, name and f'"{name}"') if part)
