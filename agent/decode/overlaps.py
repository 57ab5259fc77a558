# SPDX-License-Identifier: Apache-2.0
"""Signals of a message that share bits of one and the same frame.

Two signals are in one frame where no multiplexor tells them apart: where for each multiplexor that both depend on,
directly or through another multiplexor, some raw value selects both. They are decoded all the same; it may be meant
(a group of bits beside each of its bits) or be a mistake in the file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.model import MessageDefinition, SignalDefinition

Ranges = tuple[tuple[int, int], ...]
COMPARISONS_MAX = 2_000_000
"""In one file: half a second."""


class TooManyError(Exception):
    """More pairs would have to be compared than the caller allows."""


class Overlaps:
    """Looks through the messages of a file for as long as the comparisons last: a file may be made to need billions."""

    def __init__(self, comparisons_max: int = COMPARISONS_MAX) -> None:
        self._left = comparisons_max

    def of(self, message: MessageDefinition) -> list[tuple[int, int]]:
        """Pairs of indexes of overlapping signals, the lower first, in order; none once TooManyError was raised."""
        if self._left < 0:
            return []
        groups: dict[tuple[str | None, Ranges], list[int]] = {}
        masks = [_mask(signal) for signal in message.signals]
        for index, signal in enumerate(message.signals):
            groups.setdefault((signal.selected_by, signal.selected_when), []).append(index)
        by_name = {signal.name: signal for signal in message.signals}
        unions = []
        for key, members in groups.items():
            union = 0
            for member in members:
                union |= masks[member]
            unions.append((union, _conditions(key[0], key[1], by_name), members))
        pairs = []
        for position, (union, conditions, members) in enumerate(unions):
            if sum(masks[member].bit_count() for member in members) > union.bit_count():
                self._count(len(members) ** 2)
                pairs += [(a, b) for a in members for b in members if a < b and masks[a] & masks[b]]
            self._count(len(unions) - position)
            for other_union, other_conditions, others in unions[position + 1 :]:
                if union & other_union and self._meet(conditions, other_conditions):
                    self._count(len(members) * len(others))
                    pairs += [(min(a, b), max(a, b)) for a in members for b in others if masks[a] & masks[b]]
        return sorted(pairs)

    def _meet(self, first: dict[str, Ranges], second: dict[str, Ranges]) -> bool:
        """Whether one frame can fulfil both."""
        for name, ranges in first.items():
            if name in second:
                self._count(len(ranges) + len(second[name]))
                if not _intersect(ranges, second[name]):
                    return False
        return True

    def _count(self, comparisons: int) -> None:
        self._left -= comparisons
        if self._left < 0:
            raise TooManyError


def _mask(signal: SignalDefinition) -> int:
    """The signal's bits, numbered as they are sent: byte by byte, each from its most significant bit."""
    if not signal.little_endian:
        return ((1 << signal.length) - 1) << (8 * (signal.start // 8) + 7 - signal.start % 8)
    mask = 0
    for bit in range(signal.start, signal.start + signal.length):
        mask |= 1 << (bit ^ 7)
    return mask


def _conditions(
    selected_by: str | None, selected_when: Ranges, by_name: dict[str, SignalDefinition]
) -> dict[str, Ranges]:
    """By multiplexor the ranges of its raw value for which a signal is present."""
    conditions: dict[str, Ranges] = {}
    while selected_by is not None and selected_by not in conditions:
        conditions[selected_by] = selected_when
        multiplexor = by_name.get(selected_by)
        if multiplexor is None:
            break
        selected_by, selected_when = multiplexor.selected_by, multiplexor.selected_when
    return conditions


def _intersect(first: Ranges, second: Ranges) -> bool:
    """Whether some value lies in a range of both; each is in order."""
    a = b = 0
    while a < len(first) and b < len(second):
        if first[a][0] <= second[b][1] and second[b][0] <= first[a][1]:
            return True
        if first[a][1] < second[b][1]:
            a += 1
        else:
            b += 1
    return False
