# SPDX-License-Identifier: Apache-2.0
"""The signals and messages of all buses by their names, as conditions and patterns speak of them.

Where two definitions stand for one arbitration id on one bus, only the first is ever decoded, and only it is found.
Failure: `ExpressionError`, with the nearest name as a suggestion, or with the full names that a short one could mean.
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from agent.collect.conditions.syntax import ExpressionError, SignalRef
from agent.decode.plan import parameter_group
from agent.model import EXTENDED

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from agent.collect.conditions.syntax import Name
    from agent.model import MessageDefinition

_SHOWN_MAX = 3


class Directory:
    """Finds signals and messages by name."""

    def __init__(self, messages: Sequence[MessageDefinition]) -> None:
        self.messages = tuple(messages)
        self.decoded = tuple(_decoded(messages))
        self._signals: dict[str, list[tuple[int, int]]] = {}
        self._messages: dict[str, list[int]] = {}
        for index in self.decoded:
            self._messages.setdefault(messages[index].name, []).append(index)
            for number, signal in enumerate(messages[index].signals):
                self._signals.setdefault(signal.name, []).append((index, number))

    def signal(self, name: Name) -> SignalRef:
        """The one signal that a name means."""
        *owner, last = name.parts
        found = [(m, s) for m, s in self._signals.get(last, []) if self._is_of(owner, m)]
        if len(found) == 1:
            message, number = found[0]
            return SignalRef(message, number, self.messages[message].signals[number])
        full = [self.full_name(message, number) for message, number in found]
        if found:
            raise _ambiguous("signal", name, full)
        if self._signals.get(last):
            advice = _did_you_mean([self.full_name(m, s) for m, s in self._signals[last]])
        else:
            advice = nearest(str(name) if owner else last, self._candidates(len(owner)))
        raise ExpressionError(f'the DBC files have no signal "{name}"{advice}', name.at)

    def message(self, name: Name) -> int:
        """The one message that a name means."""
        *bus, last = name.parts
        found = [m for m in self._messages.get(last, []) if not bus or self.messages[m].bus == ".".join(bus)]
        if len(found) == 1:
            return found[0]
        if found:
            full = [f"{self.messages[m].bus}.{last}" for m in found]
            raise _ambiguous("message", name, full)
        advice = nearest(last, self._messages)
        raise ExpressionError(f'the DBC files have no message "{name}"{advice}', name.at)

    def full_name(self, message: int, signal: int) -> str:
        """bus.message.signal."""
        definition = self.messages[message]
        return f"{definition.bus}.{definition.name}.{definition.signals[signal].name}"

    def _is_of(self, owner: list[str], message: int) -> bool:
        definition = self.messages[message]
        if not owner:
            return True
        return owner[-1] == definition.name and (len(owner) == 1 or ".".join(owner[:-1]) == definition.bus)

    def _candidates(self, owners: int) -> list[str]:
        if not owners:
            return list(self._signals)
        full = [self.full_name(message, signal) for places in self._signals.values() for message, signal in places]
        return full if owners > 1 else [name.split(".", 1)[1] for name in full]


def nearest(name: str, known: Iterable[str]) -> str:
    """What a name could have been meant to be, as the end of a sentence; nothing where nothing comes near."""
    lowered = {each.lower(): each for each in known}
    return _did_you_mean([lowered[each] for each in difflib.get_close_matches(name.lower(), list(lowered), 1)])


def _did_you_mean(names: list[str]) -> str:
    return f"; did you mean {_listed(names)}?" if names else ""


def _ambiguous(kind: str, name: Name, full: list[str]) -> ExpressionError:
    return ExpressionError(f'"{name}" is the name of {len(full)} {kind}s; write {_listed(full)}', name.at)


def _listed(names: list[str]) -> str:
    shown = [f'"{name}"' for name in names[:_SHOWN_MAX]]
    return " or ".join(shown) + (" or …" if len(names) > _SHOWN_MAX else "")


def _decoded(messages: Sequence[MessageDefinition]) -> Iterable[int]:
    """The definitions that `decode.plan` takes: the first of each id, or parameter group, of a bus."""
    seen: set[tuple[str, bool, int]] = set()
    for index, message in enumerate(messages):
        by_group = message.j1939 and bool(message.can_id & EXTENDED)
        key = (message.bus, by_group, parameter_group(message.can_id) if by_group else message.can_id)
        if key not in seen:
            seen.add(key)
            yield index
