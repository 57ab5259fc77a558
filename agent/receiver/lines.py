# SPDX-License-Identifier: Apache-2.0
"""Decoded frames as text: JSON lines and CSV.

JSON: one line a frame,
``{"t": 1700000000.123, "bus": "can0", "id": 260, "extended": false, "message": "STEER", "signals": {…}}``.
Signals are in the order of the DBC file, numbers as cantools gives them, null where a float is not finite. A raw frame
of an unknown id is ``{"t": …, "bus": …, "id": …, "extended": …, "message": null, "data": "00ff"}``. An event is
``{"t": …, "event": "triggered", "subject": "hard_braking", "detail": "…"}``; an event of a message has ``"id"`` and
``"extended"`` after the subject. Every text is exact.

CSV: one line a signal value, ``time,bus,id,message,signal,value,unit,extended``. A raw frame is one line with no
message, the signal ``data`` and its bytes in hex. Events are left out. Control characters in texts are escaped. A text
that begins like a formula (``= + - @``) and is no number gets an apostrophe in front, as OWASP advises against CSV
injection.

An id is the 11- or 29-bit identifier; ``extended`` says which. Times are exact decimals of the nanoseconds, with 3, 6
or 9 decimals. A line is joined from the message's names and columns of numbers that become text all at once.
"""

from __future__ import annotations

import json
from itertools import repeat
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from agent.model import EXTENDED, EXTENDED_MASK
from agent.physical import names, physical
from agent.system.printable import ESCAPED_MAX, printable, printable_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from agent.model import Event, SignalDefinition
    from agent.receiver.windows import Shaped, WindowPart

    LineMaker = Callable[[WindowPart], NDArray[np.object_]]

FORMULA = ("=", "+", "-", "@")
"""https://owasp.org/www-community/attacks/CSV_Injection; tab and carriage return, which it names too, are escaped."""
CSV_HEADER = "time,bus,id,message,signal,value,unit,extended\n"


def json_lines(part: WindowPart, *, choices: bool = False, vehicle: str | None = None) -> NDArray[np.object_]:
    """One line of text for each row of the part; `vehicle` puts a first key of that name into each."""
    lines = np.empty(len(part.rows), object)
    message = part.message
    head = '{"t": ' if vehicle is None else f'{{"vehicle": {_quoted(vehicle)}, "t": '
    kind = _truth(part.extended)
    origin = f', "bus": {_quoted(part.bus)}, "id": {part.can_id}, "extended": {kind}, "message": '
    times = times_text(part.time_ns)
    for shaped in part.shaped():
        cells: list[str | list[str]] = [head, _take(times, shaped)]
        if message is None:
            cells += [origin + 'null, "data": "', payloads(shaped), '"}\n']
        else:
            between = f'{origin}{_quoted(message.name)}, "signals": {{'
            for number in shaped.signals:
                signal = message.signals[number]
                texts = _json_texts(signal, shaped.raw(number), choices)
                cells += [f"{between}{_quoted(signal.name)}: ", texts]
                between = ", "
            cells.append("}}\n" if shaped.signals else between + "}}\n")
        lines[shaped.index] = _joined(cells, len(shaped.index))
    return lines


def event_line(event: Event, *, vehicle: str | None = None) -> str:
    """The line of an event."""
    origin = {} if vehicle is None else {"vehicle": vehicle}
    about = {"id": event.can_id & EXTENDED_MASK, "extended": bool(event.can_id & EXTENDED)} if event.can_id else {}
    fields = {"event": event.kind, "subject": event.subject, **about, "detail": event.detail}
    (time,) = times_text(np.array([event.time_ns]))
    head = "".join(f"{_quoted(key)}: {_quoted(value)}, " for key, value in origin.items())
    return f'{{{head}"t": {time}, {_document(fields)[1:]}\n'


def csv_lines(part: WindowPart, *, choices: bool = False) -> NDArray[np.object_]:
    """The lines of all signals of a row, as one text for each row of the part; "" where it has none."""
    lines = np.empty(len(part.rows), object)
    message = part.message
    times = times_text(part.time_ns)
    end = f",{_truth(part.extended)}\n"
    for shaped in part.shaped():
        own_times = _take(times, shaped)
        origin = f",{_cell(part.bus)},{part.can_id},"
        cells: list[str | list[str]] = []
        if message is None:
            cells = [own_times, origin + ",data,", payloads(shaped), f",{end}"]
        else:
            for number in shaped.signals:
                signal = message.signals[number]
                texts = _csv_texts(signal, shaped.raw(number), choices)
                name = f"{origin}{_cell(message.name)},{_cell(signal.name)},"
                cells += [own_times, name, texts, f",{_cell(signal.unit)}{end}"]
        lines[shaped.index] = _joined(cells, len(shaped.index))
    return lines


def times_text(time_ns: NDArray[np.int64]) -> list[str]:
    """Seconds as exact decimals."""
    if not len(time_ns):
        return []
    decimals = next((d for d in (3, 6) if not (time_ns % 10 ** (9 - d)).any()), 9)
    ticks = (time_ns // 10 ** (9 - decimals)).tolist()
    if min(ticks) < 10**decimals:  # the first second of 1970, or before
        return [_small(tick, decimals) for tick in ticks]
    return [f"{text[:-decimals]}.{text[-decimals:]}" for text in map(str, ticks)]


def payloads(shaped: Shaped) -> list[str]:
    """Payloads of raw frames in hex."""
    columns = [shaped.raw(number).astype(np.uint8) for number in shaped.signals]
    if not columns:
        return [""] * len(shaped.index)
    return [row.tobytes().hex() for row in np.stack(columns, axis=1)]


def _json_texts(signal: SignalDefinition, raw: NDArray[np.uint64], choices: bool) -> list[str]:
    texts = _numbers(physical(signal, raw))
    if not (choices and signal.choices):
        return texts
    return [text if name is None else _quoted(name) for name, text in zip(names(signal, raw), texts, strict=True)]


def _csv_texts(signal: SignalDefinition, raw: NDArray[np.uint64], choices: bool) -> list[str]:
    values = physical(signal, raw)
    if values.dtype == np.float64 and not np.isfinite(values).all():
        texts = list(map(repr, values.tolist()))
    else:
        texts = _numbers(values)
    if not (choices and signal.choices):
        return texts
    return [text if name is None else _cell(name) for name, text in zip(names(signal, raw), texts, strict=True)]


def _numbers(values: NDArray[Any]) -> list[str]:
    if not len(values):
        return []
    return msgspec.json.encode(values.tolist())[1:-1].decode().split(",")


def _take(times: list[str], shaped: Shaped) -> list[str]:
    return times if len(times) == len(shaped.index) else [times[row] for row in shaped.index.tolist()]


def _small(tick: int, decimals: int) -> str:
    seconds, rest = divmod(abs(tick), 10**decimals)
    return f"{'-' if tick < 0 else ''}{seconds}.{rest:0{decimals}d}"


def _joined(cells: list[str | list[str]], rows: int) -> list[str]:
    """Columns, and texts that are the same in every row, side by side."""
    if not cells:
        return [""] * rows
    columns = [repeat(cell, rows) if isinstance(cell, str) else cell for cell in cells]
    return list(map("".join, zip(*columns, strict=True)))


def _truth(value: bool) -> str:
    return "true" if value else "false"


def _quoted(text: str) -> str:
    return _document(text)


def _document(value: object) -> str:
    return printable_json(json.dumps(value, ensure_ascii=False))


def _cell(text: str) -> str:
    if not text.isprintable():
        text = printable(text, len(text) * ESCAPED_MAX)
    if text.startswith(FORMULA) and len(text) > 1 and not _is_number(text):
        text = f"'{text}"
    if any(sign in text for sign in ',"\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
