# SPDX-License-Identifier: Apache-2.0
"""Whether the multiplexing marks of a message's signals and its ``SG_MUL_VAL_`` statements make sense together.

A message with one multiplexor selects its signals by the number in their marks, and by ranges that name it. In a
message with several, only ranges say what selects a signal; a signal without any is read from every frame, as cantools
does. A signal that no multiplexor value can reach is left out: cantools never decodes it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.decode.report import Severity, Subject

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.decode.sound import SoundMessage, SoundSignal
    from agent.decode.statements import Statements


def drop_unreached(statements: Statements, message: SoundMessage) -> None:
    """Leave out the signals that no multiplexor value reaches; report those that lack a multiplexor."""
    _Multiplexing(statements, message).check()


def drop_duplicates(statements: Statements, message: SoundMessage) -> None:
    """Leave out signals whose name an earlier one has, unless other multiplexor values select them."""
    first: dict[str, list[SoundSignal]] = {}
    kept = []
    for signal in message.signals:
        same = first.setdefault(signal.statement.name, [])
        clash = [other for other in same if not (other.mark and signal.mark) or other.mark == signal.mark]
        if clash:
            statements.report(
                signal.statement.line,
                f"signal left out, the message has a signal of this name in line {clash[0].statement.line}",
                Severity.SKIPPED,
                Subject.SIGNAL,
                message.statement.name,
                signal.statement.name,
            )
            continue
        same.append(signal)
        kept.append(signal)
    message.signals = kept


class _Multiplexing:
    """Whether the marks of a message's signals and its ``SG_MUL_VAL_`` statements make sense together."""

    def __init__(self, statements: Statements, message: SoundMessage) -> None:
        self._report: Callable[..., None] = statements.report
        self._message = message
        self._multiplexors = [s.alias for s in message.signals if s.mark.endswith("M")]

    def check(self) -> None:
        """Leave out the signals that no multiplexor value reaches; report those that lack a multiplexor."""
        if all(not signal.mark for signal in self._message.signals):
            return
        loaded = {signal.statement.line for signal in self._message.signals}
        for declared in self._message.statement.signals:
            if declared.mark.endswith("M") and declared.line not in loaded:
                self._drop_selected(declared.name)
                return
        self._message.signals = [signal for signal in self._message.signals if self._is_reached(signal)]

    def _drop_selected(self, multiplexor: str) -> None:
        """Without its multiplexor nobody knows which frames carry a signal."""
        for signal in self._message.signals:
            if signal.mark:
                self._problem(signal, f"signal left out, as is the multiplexor {multiplexor}", Severity.SKIPPED)
        self._message.signals = [signal for signal in self._message.signals if not signal.mark]

    def _selector(self, signal: SoundSignal) -> str | None:
        """The multiplexor that selects a signal, None where it is always present."""
        if not signal.mark:
            return None
        if len(self._multiplexors) == 1:
            only = self._multiplexors[0]
            return None if signal.alias == only else only
        selection = self._message.selections.get(signal.alias)
        return selection[0] if selection else None

    def _is_reached(self, signal: SoundSignal) -> bool:
        if signal.mark.startswith("m") and self._selector(signal) is None:
            many = len(self._multiplexors) > 1
            why = "no SG_MUL_VAL_ says which of the message's multiplexors" if many else "no multiplexor"
            self._problem(signal, f"{why} selects it, read from every frame", Severity.REPAIRED)
        by_alias = {other.alias: other for other in self._message.signals}
        seen: list[str] = []
        here: SoundSignal | None = signal
        while here is not None:
            seen.append(here.alias)
            selector = self._selector(here)
            if selector is None:
                return True
            if why := self._unreachable(here, selector, seen):
                self._problem(signal, f"signal left out, {why}", Severity.SKIPPED)
                return False
            here = by_alias.get(selector)
        return True

    def _unreachable(self, signal: SoundSignal, selector: str, seen: list[str]) -> str:
        """Why no value of `selector` selects the signal, "" where one may."""
        if selector in seen:
            return f"its multiplexor {selector} is selected by itself"
        if selector not in self._multiplexors:
            return f"{selector}, which is to select it, is not a multiplexor of the message"
        ranges = self._message.selections.get(signal.alias, ("", ()))[1]
        if len(self._multiplexors) > 1 and all(low > high for low, high in ranges):
            return f"the range of {selector}'s values that is to select it is empty"
        return ""

    def _problem(self, signal: SoundSignal, reason: str, severity: Severity) -> None:
        statement = signal.statement
        name = self._message.statement.name
        self._report(statement.line, reason, severity, Subject.SIGNAL, name, statement.name)
