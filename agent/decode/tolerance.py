# SPDX-License-Identifier: Apache-2.0
"""Which statements of a DBC file can be loaded as they stand, which after a repair, and which cannot be loaded.

What comes out of `accept_messages` becomes definitions without complaint: everything that makes other tools refuse a
whole file is repaired here, or left out, as a problem of the line it stands on.

    repaired    a 29-bit id without its bit 31 · a name that is no identifier (loaded under that very name) ·
                a number without its leading zero · limits that are no numbers, or larger than any · a float type
                that the signal's length does not allow · a value table's entry whose value is no whole number, or
                none that 64 bits hold
    skipped     an id past 29 bits · an id declared before · more than 64 bytes · more than `SIGNALS_MAX` signals ·
                a signal of no or more than 64 bits, or past the end of any frame · a scale or offset that is too
                large · a signal name declared before for the same frames · a signal that no multiplexor value
                reaches · a statement about a message or signal that is not there
    note        overlapping signals, signals past the message's declared length (read from frames that are long
                enough), message names used twice

The first declaration of an id or a name counts.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import TYPE_CHECKING

from agent.decode.assigning import assign
from agent.decode.grammar import DIGITS_MAX
from agent.decode.multiplexing import drop_duplicates, drop_unreached
from agent.decode.reading import excerpt
from agent.decode.report import Severity, Subject
from agent.decode.statements import KEYWORDS, SIGNAL_BITS_MAX, AcceptedMessage, AcceptedSignal
from agent.model import EXTENDED, EXTENDED_MASK, STANDARD_MASK

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.decode.statements import MessageStatement, SignalStatement, Statements

FRAME_BYTES_MAX = 64
CLASSIC_BYTES_MAX = 8
SIGNALS_MAX = 10_000
"""Of a message; tables of signals number them with 16 bits."""

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MARK = re.compile(rf"M|m\d{{1,{DIGITS_MAX}}}M?")
_DBC_NUMBER = re.compile(r"[-+]?\d++\.?\d*+(?:[eE][-+]?\d++)?")


def accept_messages(statements: Statements) -> list[AcceptedMessage]:
    """The messages that load, in the file's order; what does not is added to the statements' problems."""
    by_id: dict[int, AcceptedMessage] = {}
    taken: dict[int, MessageStatement] = {}
    for message in statements.messages:
        try:
            accepted = _Message(statements, message).accept(taken)
        except _LeftOutError as left_out:
            reason = f"message left out, {left_out}"
            statements.report(message.line, reason, Severity.SKIPPED, Subject.MESSAGE, message.name)
            continue
        taken[accepted.can_id] = message
        by_id[accepted.dbc_id] = accepted
    assign(statements, by_id)
    for accepted in by_id.values():
        drop_unreached(statements, accepted)
        drop_duplicates(statements, accepted)
    _note_names_used_twice(statements, list(by_id.values()))
    return list(by_id.values())


class _LeftOutError(Exception):
    """Why a message or signal is not loaded."""


class _Message:
    """One ``BO_`` statement and its signals under examination."""

    def __init__(self, statements: Statements, message: MessageStatement) -> None:
        self._message = message
        self._report: Callable[..., None] = statements.report
        self._aliases: set[str] = set()
        self._multiplexors = sum(signal.mark.endswith("M") for signal in message.signals)

    def accept(self, taken: dict[int, MessageStatement]) -> AcceptedMessage:
        """The message; `taken` are the ids declared before."""
        message = self._message
        can_id = self._can_id()
        if can_id in taken:
            first = taken[can_id]
            same = _same_layout(first, message)
            raise _LeftOutError(
                f"id {_id_text(can_id)} is declared before as {first.name} in line {first.line}, "
                f"{'with the same signals' if same else 'with other signals'}: the first counts"
            )
        try:
            length = int(message.length, 0)
        except ValueError:
            raise _LeftOutError(f"its length is not a whole number of bytes: {excerpt(message.length)}") from None
        if not 0 <= length <= FRAME_BYTES_MAX:
            raise _LeftOutError(
                f"its length is {excerpt(message.length)} bytes, a frame carries up to {FRAME_BYTES_MAX}"
            )
        if len(message.signals) > SIGNALS_MAX:
            line = message.signals[SIGNALS_MAX].line
            raise _LeftOutError(f"it has more than {SIGNALS_MAX:,} signals, the first too many in line {line}")
        accepted = AcceptedMessage(message, message.dbc_id, can_id, length)
        self._check_name(message.name)
        for signal in message.signals:
            try:
                accepted.signals.append(self._signal(signal, length))
            except _LeftOutError as left_out:
                self._signal_problem(signal, f"signal left out, {left_out}", Severity.SKIPPED)
        return accepted

    def _can_id(self) -> int:
        """The arbitration id word that the DBC's number stands for."""
        number = self._message.dbc_id
        identifier = number & ~EXTENDED
        if not 0 <= number <= 0xFFFF_FFFF or identifier > EXTENDED_MASK:
            raise _LeftOutError(f"its id {number} (0x{number:x}) is not one of a CAN frame: up to 29 bits and bit 31")
        if number & EXTENDED or identifier <= STANDARD_MASK:
            return number
        self._report(
            self._message.line,
            f"id 0x{identifier:x} needs 29 bits but lacks bit 31, read as a 29-bit id",
            Severity.REPAIRED,
            Subject.MESSAGE,
            self._message.name,
        )
        return number | EXTENDED

    def _check_name(self, name: str, signal: SignalStatement | None = None) -> None:
        """Report a name that other tools may not read."""
        if _IDENTIFIER.fullmatch(name) and name not in KEYWORDS:
            return
        why = "is a keyword" if name in KEYWORDS else "is not an identifier of letters, digits and _"
        self._report(
            self._message.line if signal is None else signal.line,
            f"the name {name} {why}",
            Severity.REPAIRED,
            Subject.MESSAGE if signal is None else Subject.SIGNAL,
            self._message.name,
            "" if signal is None else name,
        )

    def _alias(self, name: str) -> str:
        """The name, or another where a signal of the message has it already."""
        alias, number = name, len(self._aliases)
        while alias in self._aliases:
            alias, number = f"{name} #{number}", number + 1
        self._aliases.add(alias)
        return alias

    def _signal(self, signal: SignalStatement, message_bytes: int) -> AcceptedSignal:
        """The signal."""
        written = f"{signal.start}|{signal.length}"
        try:
            start, length = int(signal.start), int(signal.length)
        except ValueError as error:
            raise _LeftOutError(f"start or length is not a whole number: {excerpt(written)}") from error
        if start < 0 or not 1 <= length <= SIGNAL_BITS_MAX:
            what = f"it has {excerpt(signal.length)} bits at {excerpt(signal.start)}"
            raise _LeftOutError(f"{what}, decoded are 1 to {SIGNAL_BITS_MAX} bits from 0 on")
        mark = self._mark(signal)
        if mark is None:
            raise _LeftOutError(f"its mark {excerpt(signal.mark)} is none of M, m<number>, m<number>M")
        accepted = AcceptedSignal(signal, "", mark, start, length)
        frame_bytes = CLASSIC_BYTES_MAX if message_bytes <= CLASSIC_BYTES_MAX else FRAME_BYTES_MAX
        if accepted.end_bit > 8 * frame_bytes:
            raise _LeftOutError(f"its bits {_bits(accepted)} lie past a frame's {frame_bytes} bytes")
        if accepted.end_bit > 8 * message_bytes:
            self._signal_problem(
                signal,
                f"signal does not fit, its bits {_bits(accepted)} lie past the message's {message_bytes} bytes: "
                "read from longer frames only",
                Severity.NOTE,
            )
        self._mend_numbers(signal)
        self._check_name(signal.name, signal)
        accepted.alias = self._alias(signal.name)
        return accepted

    def _mark(self, signal: SignalStatement) -> str | None:
        """The signal's multiplexing mark, None where it has no meaning.

        Where a message has not exactly one multiplexor, SG_MUL_VAL_ statements say what selects a signal, and the
        number in its mark says nothing.
        """
        if not signal.mark or _MARK.fullmatch(signal.mark):
            return signal.mark
        if signal.mark.endswith("M") or self._multiplexors == 1:
            return None
        reason = f"its mark {excerpt(signal.mark)} is none of M, m<number>, m<number>M and does not count"
        self._signal_problem(signal, reason, Severity.REPAIRED)
        return "m0"

    def _mend_numbers(self, signal: SignalStatement) -> None:
        mended = []
        for name in ("scale", "offset"):
            written = getattr(signal, name)
            if not _DBC_NUMBER.fullmatch(written):
                setattr(signal, name, re.sub(r"^([-+]?)\.", r"\g<1>0.", written))
                mended.append(f"{name} {excerpt(written)} read as {excerpt(getattr(signal, name))}")
            if not math.isfinite(float(getattr(signal, name)) * (1 << SIGNAL_BITS_MAX)):
                raise _LeftOutError(f"its {name} {excerpt(written)} makes values larger than any number")
        for name in ("minimum", "maximum"):
            written = getattr(signal, name)
            if written is not None and not _is_number(written):
                short = re.sub(r"^([-+]?)\.(?=\d)", r"\g<1>0.", written)
                setattr(signal, name, short if _is_number(short) else "0")
                mended.append(f"{name} {excerpt(written) or 'is missing and'} read as {excerpt(getattr(signal, name))}")
        if mended:
            self._signal_problem(signal, "; ".join(mended), Severity.REPAIRED)

    def _signal_problem(self, signal: SignalStatement, reason: str, severity: Severity) -> None:
        self._report(signal.line, reason, severity, Subject.SIGNAL, self._message.name, signal.name)


def _note_names_used_twice(statements: Statements, messages: list[AcceptedMessage]) -> None:
    counts = Counter(message.statement.name for message in messages)
    seen: dict[str, int] = {}
    for message in messages:
        name = message.statement.name
        if counts[name] > 1 and name in seen:
            statements.report(
                message.statement.line,
                f"message of the same name in line {seen[name]}, with another id",
                Severity.NOTE,
                Subject.MESSAGE,
                name,
            )
        seen.setdefault(name, message.statement.line)


def _same_layout(first: MessageStatement, second: MessageStatement) -> bool:
    return (first.length, len(first.signals)) == (second.length, len(second.signals)) and all(
        _field(a) == _field(b) for a, b in zip(first.signals, second.signals, strict=True)
    )


def _field(signal: SignalStatement) -> tuple[str, ...]:
    s = signal
    return s.name, s.mark, s.start, s.length, s.order, s.sign, s.scale, s.offset


def _is_number(text: str) -> bool:
    return _DBC_NUMBER.fullmatch(text) is not None and math.isfinite(float(text))


def _bits(signal: AcceptedSignal) -> str:
    return f"{signal.end_bit - signal.length}…{signal.end_bit - 1}"


def _id_text(can_id: int) -> str:
    return f"0x{can_id & ~EXTENDED:x}{' (29 bits)' if can_id & EXTENDED else ''}"
