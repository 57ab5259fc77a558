# SPDX-License-Identifier: Apache-2.0
"""An explanation as text for a person, or as plain types for a program. Pure.

A payload is drawn bit by bit, each bit with the letter of its signal; eight bytes take 78 columns:

    byte   0        1        2
    bits   00000100 11111110 11111111
    signal aaaaaaaa bbbbbbbb bbbbbbbb

Bits are numbered as the DBC numbers them: bit n lies in byte n // 8, and n % 8 = 0 is its least significant. An Intel
signal begins at its least significant bit and goes up. A Motorola signal begins at its most significant bit, goes down
within its byte, and continues at the top of the next byte.
"""

from __future__ import annotations

import string
from typing import TYPE_CHECKING, Any

from agent.decode.plan import field_bits
from agent.live.explain_input import shown_id
from agent.live.status_screen import duration
from agent.model import EXTENDED, EXTENDED_MASK
from agent.system.printable import printable, printable_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from agent.live.explain import Decoded, Explanation, Item, Kept, Verified
    from agent.live.snapshot import PriorityStatus
    from agent.model import SignalDefinition


def text_lines(explanation: Explanation, now_ns: int, *, coloured: bool = False) -> Iterator[str]:
    """Lines; `now_ns` 0: no agent was asked, and nothing is told of received frames."""
    if not explanation.items:
        advice = f"; {explanation.advice}" if explanation.advice else ""
        yield printable_line(f'no message, signal or id "{explanation.question}" is known{advice}')
    for number, item in enumerate(explanation.items):
        if number:
            yield ""
        yield from _item(item, now_ns, coloured=coloured)
    if explanation.left_out:
        yield f"\nand {explanation.left_out} more: write it as bus.message or bus.message.signal"


def _item(item: Item, now_ns: int, *, coloured: bool) -> Iterator[str]:
    yield from map(printable_line, _origin(item, now_ns))
    yield from _bits(item, coloured=coloured)
    yield from map(printable_line, _processing(item, now_ns))


def _origin(item: Item, now_ns: int) -> Iterator[str]:
    """Where it is described, and when it was received."""
    kind = "29 bit" if item.can_id & EXTENDED else "11 bit"
    head = f"{shown_id(item.can_id)} ({item.can_id & EXTENDED_MASK}, {kind}) on {item.bus}: "
    if item.message is None:
        yield head + "described by no DBC file of the bus"
    else:
        cycle = f", each {item.message.cycle_ms} ms" if item.message.cycle_ms else ""
        by_group = ", by PGN" if item.message.j1939 else ""
        yield f"{head}{printable(item.message.name)}, {item.message.length} bytes{cycle}{by_group}"
    if item.file:
        yield f"  defined    {item.file}:{item.line}" if item.line else f"  defined    {item.file}"
    if now_ns:
        yield _received(item, now_ns)


def _processing(item: Item, now_ns: int) -> Iterator[str]:
    """What becomes of it."""
    yield from (f"  kept       {line}" for line in _kept_lines(item))
    yield from (f"  sent       {_sent(each, now_ns)}" for each in item.priorities)
    if item.verified is not None:
        yield from (f"  verified   {line}" for line in _verified(item.verified, asked=bool(now_ns)))
    for trigger in item.triggers:
        yield f"  recorded   by trigger {trigger}"
    for near in item.near:
        yield f"  near       {near}"


def _received(item: Item, now_ns: int) -> str:
    if item.row is None:
        filtered = item.message is not None and not item.kept
        why = "; where rules want few frames, the kernel lets no others through" if filtered else ""
        return f"  received   never since the agent was started or reloaded{why}"
    _, _, _, count, time_ns, payload = item.row
    ago = duration(max(0, now_ns - time_ns) / 1e9)
    return f"  received   {count:,} times, last {ago} ago: {bytes.fromhex(payload).hex(' ').upper() or 'no payload'}"


def _bits(item: Item, *, coloured: bool) -> Iterator[str]:
    marks = letters([each.definition for each in item.signals])
    payload = bytes.fromhex(item.row[5]) if item.row else b""
    carried = {mark: each.definition for mark, each in zip(marks, item.signals, strict=True) if each.raw is not None}
    for line in drawing(payload, carried, coloured=coloured):
        yield f"  {line}"
    widths = [max(map(len, column)) for column in zip(*map(_cells, item.signals), strict=True)]
    for mark, each in zip(marks, item.signals, strict=True):
        cells = "  ".join(cell.ljust(width) for cell, width in zip(_cells(each), widths, strict=True)).rstrip()
        yield f"  {paint(mark, mark) if coloured and each.raw is not None else mark}  {cells}"


def _cells(each: Decoded) -> tuple[str, ...]:
    """Name, place, raw value, physical value."""
    signal = each.definition
    name = printable(signal.name)
    order = "Intel" if signal.little_endian else "Motorola"
    place = f"{signal.start}|{signal.length} {order}{', signed' if signal.signed else ''}"
    if signal.selected_by is not None:
        when = ", ".join(str(low) if low == high else f"{low}…{high}" for low, high in signal.selected_when)
        place += f", when {printable(signal.selected_by)} is {printable(when)}"
    if each.raw is None or each.value is None:
        return name, place, "-", ""
    value = str(each.value) if isinstance(each.value, int) else f"{each.value:.10g}"
    named = each.name and f'"{printable(each.name)}"'
    return name, place, f"0x{each.raw:X}", " ".join(part for part in (value, printable(signal.unit), named) if part)


def _kept_lines(item: Item) -> Iterator[str]:
    if item.message is None:
        kept = (
            "as raw bytes (keep_unknown)" if item.raw_kept else "no: only counted; keep_unknown = true keeps its bytes"
        )
        yield kept
    elif not item.kept:
        yield "no: no rule keeps any of its signals" + (" but triggers record" if item.triggers else "")
    for kept_in in item.kept:
        yield _of_priority(kept_in, len(item.signals))


def _sent(each: PriorityStatus, now_ns: int) -> str:
    """Where the batches of a priority are."""
    count = "1 batch waits" if each.batches == 1 else f"{each.batches:,} batches wait"
    waiting = f"; {count}, the oldest begun {_ago(each.oldest_ns, now_ns)}"
    if not each.acknowledged:
        return f"{each.name}: nothing acknowledged since the start{waiting if each.batches else ''}"
    return (
        f"{each.name}: last acknowledged {_ago(each.acknowledged_ns, now_ns)}, with what came until "
        f"{_ago(each.acknowledged_end_ns, now_ns)}{waiting if each.batches else ''}"
    )


def _ago(time_ns: int, now_ns: int) -> str:
    return f"{duration(max(0, now_ns - time_ns) / 1e9)} ago"


def _verified(verified: Verified, *, asked: bool) -> Iterator[str]:
    protection, found = verified.protection, verified.counters
    parts = [f"{protection.counter} counts 0…{protection.counter_max}"] if protection.counter else []
    parts += [f"{protection.checksum} is a checksum ({protection.kind})"] if protection.checksum else []
    yield ", ".join(parts) + ("; wrong frames are dropped" if protection.drop else "")
    if found is not None:
        yield (
            f"{found.frames:,} frames, {found.wrong:,} wrong, {found.missing:,} missing, {found.repeated:,} repeated "
            "since the agent was started or reloaded"
        )
    elif asked:
        yield "no frame yet"


def _of_priority(kept: Kept, signals: int) -> str:
    rules = ", ".join(f"collect[#{number}]" for number in kept.rules) or "no [[collect]]: everything is kept"
    return f"{kept.priority}: {kept.signals} of {signals} signals, {kept.how} ({rules})"


def plain(explanation: Explanation) -> dict[str, Any]:
    """For JSON: question, advice and items."""
    return {
        "question": explanation.question,
        "advice": explanation.advice,
        "left_out": explanation.left_out,
        "items": [_plain_item(item) for item in explanation.items],
    }


def _plain_item(item: Item) -> dict[str, Any]:
    message, row = item.message, item.row
    return {
        "bus": item.bus,
        "id": item.can_id & EXTENDED_MASK,
        "extended": bool(item.can_id & EXTENDED),
        "message": message and message.name,
        "dbc": {"file": item.file, "line": item.line} if item.file else None,
        "length": message and message.length,
        "cycle_ms": message and message.cycle_ms,
        "j1939": message and message.j1939,
        "received": row and {"count": row[3], "t": row[4] / 1e9, "payload": row[5]},
        "signals": [
            {
                "name": each.definition.name,
                "start": each.definition.start,
                "length": each.definition.length,
                "byte_order": "intel" if each.definition.little_endian else "motorola",
                "raw": each.raw,
                "value": each.value,
                "unit": each.definition.unit,
                "value_name": each.name,
            }
            for each in item.signals
        ],
        "kept": [
            {"priority": str(each.priority), "signals": each.signals, "how": each.how, "rules": list(each.rules)}
            for each in item.kept
        ],
        "kept_raw": item.raw_kept,
        "verified": item.verified and _plain_verified(item.verified),
        "triggers": list(item.triggers),
        "sent": [
            {
                "priority": each.name,
                "acknowledged": each.acknowledged,
                "acknowledged_t": each.acknowledged_ns / 1e9 if each.acknowledged else None,
                "until_t": each.acknowledged_end_ns / 1e9 if each.acknowledged else None,
                "waiting": each.batches,
            }
            for each in item.priorities
        ],
        "near": list(item.near),
    }


def _plain_verified(verified: Verified) -> dict[str, Any]:
    protection, found = verified.protection, verified.counters
    return {
        "counter": protection.counter or None,
        "counter_max": protection.counter_max if protection.counter else None,
        "checksum": protection.checksum or None,
        "kind": protection.kind or None,
        "drop": protection.drop,
        "frames": 0 if found is None else found.frames,
        "wrong": 0 if found is None else found.wrong,
        "missing": 0 if found is None else found.missing,
        "repeated": 0 if found is None else found.repeated,
    }


LETTERS = string.ascii_letters + string.digits
NOBODY = "."
SHARED = "#"
BYTES_A_LINE = 8
_COLOURS = (36, 33, 32, 35, 34, 31)


def letters(signals: Sequence[SignalDefinition]) -> list[str]:
    """A letter for each signal; they come again where there are more signals than letters."""
    return [LETTERS[number % len(LETTERS)] for number in range(len(signals))]


def owners(signals: Mapping[str, SignalDefinition], length: int) -> str:
    """For each bit of so many bytes, as they are drawn, the letter of its signal."""
    drawn = [NOBODY] * (8 * length)
    for letter, signal in signals.items():
        for position in field_bits(signal):
            place = position // 8 * 8 + 7 - position % 8
            if place < len(drawn):
                drawn[place] = letter if drawn[place] == NOBODY else SHARED
    return "".join(drawn)


def drawing(payload: bytes, signals: Mapping[str, SignalDefinition], *, coloured: bool) -> Iterator[str]:
    """Lines, eight bytes in each three; `signals` by letter, those that the frame carries."""
    owned = owners(signals, len(payload))
    bits = "".join(f"{byte:08b}" for byte in payload)
    for begin in range(0, len(payload), BYTES_A_LINE):
        places = range(begin, min(begin + BYTES_A_LINE, len(payload)))
        yield "byte   " + " ".join(f"{place:<8}" for place in places).rstrip()
        yield "bits   " + " ".join(_painted(bits, owned, place, coloured=coloured) for place in places)
        yield "signal " + " ".join(_painted(owned, owned, place, coloured=coloured) for place in places)


def _painted(text: str, owned: str, place: int, *, coloured: bool) -> str:
    one = slice(8 * place, 8 * place + 8)
    if not coloured:
        return text[one]
    return "".join(paint(character, owner) for character, owner in zip(text[one], owned[one], strict=True))


def paint(text: str, letter: str) -> str:
    """A text in the colour of a signal's letter."""
    if letter not in LETTERS:
        return text
    return f"\x1b[{_COLOURS[LETTERS.index(letter) % len(_COLOURS)]}m{text}\x1b[0m"
