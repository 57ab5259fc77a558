# SPDX-License-Identifier: Apache-2.0
"""Whether the multiplexing marks of a message's signals and its ``SG_MUL_VAL_`` statements make sense together.

A message with one multiplexor selects its signals by the number in their marks, and by ranges that name it. In a
message with several, only ranges say what selects a signal; a signal without any is read from every frame, as cantools
does. A signal that no multiplexor value can reach is left out: cantools never decodes it. So is one that more than
`DEPTH_MAX` multiplexors select one through the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.decode.report import Severity, Subject

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.decode.statements import AcceptedMessage, AcceptedSignal, Statements


DEPTH_MAX = 16
"""Multiplexors above a signal."""


def drop_unreached(statements: Statements, message: AcceptedMessage) -> None:
    """Leave out the signals that no multiplexor value reaches; report those that lack a multiplexor."""
    _Multiplexing(statements, message).check()


def drop_duplicates(statements: Statements, message: AcceptedMessage) -> None:
    """Leave out signals whose name an earlier one has, unless other multiplexor values select them."""
    first: dict[str, AcceptedSignal] = {}
    marked: dict[tuple[str, str, str], AcceptedSignal] = {}
    kept = []
    for signal in message.signals:
        name = signal.statement.name
        same = first.setdefault(name, signal)
        branch = (name, signal.mark, message.selections.get(signal.alias, ("", ()))[0])
        clash = same if not (same.mark and signal.mark) else marked.get(branch, signal)
        if clash is not signal:
            statements.report(
                signal.statement.line,
                f"signal left out, the message has a signal of this name in line {clash.statement.line}",
                Severity.SKIPPED,
                Subject.SIGNAL,
                message.statement.name,
                name,
            )
            continue
        marked[branch] = signal
        kept.append(signal)
    message.signals = kept


class _Multiplexing:
    """Whether the marks of a message's signals and its ``SG_MUL_VAL_`` statements make sense together."""

    def __init__(self, statements: Statements, message: AcceptedMessage) -> None:
        self._report: Callable[..., None] = statements.report
        self._message = message
        self._by_alias = {signal.alias: signal for signal in message.signals}
        self._only = message.only_multiplexor()
        self._many = sum(signal.is_multiplexor for signal in message.signals) > 1
        self._verdicts: dict[str, tuple[str, int]] = {}

    def check(self) -> None:
        """Leave out the signals that no multiplexor value reaches; report those that lack a multiplexor."""
        if all(not signal.mark for signal in self._message.signals):
            return
        loaded = {id(signal.statement) for signal in self._message.signals}
        for declared in self._message.statement.signals:
            if declared.mark.endswith("M") and id(declared) not in loaded:
                self._drop_selected(declared.name)
                return
        self._message.signals = [signal for signal in self._message.signals if self._is_reached(signal)]

    def _drop_selected(self, multiplexor: str) -> None:
        """Without its multiplexor nobody knows which frames carry a signal."""
        for signal in self._message.signals:
            if signal.mark:
                self._problem(signal, f"signal left out, as is the multiplexor {multiplexor}", Severity.SKIPPED)
        self._message.signals = [signal for signal in self._message.signals if not signal.mark]

    def _is_reached(self, signal: AcceptedSignal) -> bool:
        if signal.mark.startswith("m") and self._message.selector(signal, self._only) is None:
            why = "no SG_MUL_VAL_ says which of the message's multiplexors" if self._many else "no multiplexor"
            self._problem(signal, f"{why} selects it, read from every frame", Severity.REPAIRED)
        why, _ = self._verdict(signal)
        if why:
            self._problem(signal, f"signal left out, {why}", Severity.SKIPPED)
        return not why

    def _verdict(self, signal: AcceptedSignal) -> tuple[str, int]:
        """Why no value reaches a signal, "" where one may, and how many multiplexors are above it."""
        path: dict[str, None] = {}  # from the signal upwards
        alias: str | None = signal.alias
        while alias is not None and alias not in path and alias not in self._verdicts:
            path[alias] = None
            here = self._by_alias[alias]
            alias = self._message.selector(here, self._only)
            if alias is not None and (why := self._unreachable(here, alias)):
                self._verdicts[here.alias] = (why, 0)
                path.popitem()
                alias = here.alias
        circle = alias if alias in path else None
        verdict = ("", -1) if alias is None or circle else self._verdicts[alias]
        for below in reversed(path):
            if circle is not None:
                verdict = (f"its multiplexor {below} is selected by itself", 0)
                circle = None if below == circle else circle
            elif not verdict[0]:
                verdict = ("", verdict[1] + 1) if verdict[1] < DEPTH_MAX else (_TOO_DEEP, 0)
            self._verdicts[below] = verdict
        return self._verdicts[signal.alias]

    def _unreachable(self, signal: AcceptedSignal, selector: str) -> str:
        """Why no value of `selector` selects the signal, "" where one may."""
        found = self._by_alias.get(selector)
        if found is None or not found.is_multiplexor:
            return f"{selector}, which is to select it, is not a multiplexor of the message"
        ranges = self._message.selections.get(signal.alias, ("", ()))[1]
        if self._many and all(low > high for low, high in ranges):
            return f"the range of {selector}'s values that is to select it is empty"
        return ""

    def _problem(self, signal: AcceptedSignal, reason: str, severity: Severity) -> None:
        statement = signal.statement
        name = self._message.statement.name
        self._report(statement.line, reason, severity, Subject.SIGNAL, name, statement.name)


_TOO_DEEP = f"it is selected through more than {DEPTH_MAX} multiplexors"
