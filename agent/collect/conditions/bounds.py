# SPDX-License-Identifier: Apache-2.0
"""Within what bounds the signals that conditions name stayed in a block, the last sample before it included."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from agent.collect.conditions.binding import is_counted
from agent.collect.steady_clock import NEVER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from agent.collect.block_view import BlockView
    from agent.collect.conditions.history import Inputs
    from agent.collect.conditions.syntax import SignalRef
    from agent.collect.rules.scan import ChangeScan
    from agent.collect.signal_index import LastSamples, SignalIndex, Staying


@dataclass(frozen=True, slots=True)
class Bounds:
    """A block at a glance; lists by number of the signal, as `Screen` counts them.

    low, high   the least and the greatest key, low > high where nothing has come yet
    heard       steady time of the last sample before the block, `NEVER` where there was none
    stirred     it came with another value than before
    begin, end  steady times between which the block's frames lie
    is_ahead    they are those of all blocks until `end`, of whose frames nothing is known
    """

    view: BlockView
    inputs: Inputs
    low: list[int]
    high: list[int]
    heard: list[int]
    stirred: list[bool]
    begin: int
    end: int
    is_ahead: bool = False


@dataclass(frozen=True, slots=True)
class Glance:
    """What `Bounds` are made of; arrays by number of the signal: low, high uint64 · heard int64 · stirred bool."""

    view: BlockView
    low: NDArray[np.uint64]
    high: NDArray[np.uint64]
    heard: NDArray[np.int64]
    stirred: NDArray[np.bool_]

    def bounds(self, inputs: Inputs) -> Bounds:
        """The same as lists, which conditions are quick with."""
        return Bounds(
            self.view,
            inputs,
            self.low.tolist(),
            self.high.tolist(),
            self.heard.tolist(),
            self.stirred.tolist(),
            *self.view.span,
        )


class Screen:
    """The signals that conditions name, and where they are found in a block."""

    def __init__(self, roster: SignalIndex, latest: LastSamples, refs: Sequence[SignalRef]) -> None:
        self._roster = roster
        self._latest = latest
        self._refs = refs
        self.number = {ref: number for number, ref in enumerate(refs)}
        self.channel = np.empty(0, np.int64)
        self.uncertain: frozenset[SignalRef] = frozenset()
        roster.on_change(self._grow, self._grow)

    def _grow(self, _: range | Staying) -> None:
        lanes = [(self._roster.message == ref.message).nonzero()[0].tolist() for ref in self._refs]
        self.uncertain = frozenset(
            ref for ref, of in zip(self._refs, lanes, strict=True) if len(of) != 1 or not is_counted(ref.definition)
        )
        first = self._roster.first.tolist()
        places = [first[of[0]] + ref.signal if of else 0 for ref, of in zip(self._refs, lanes, strict=True)]
        self.channel = np.array(places, np.int64)

    def glance(self, view: BlockView, scan: ChangeScan) -> Glance:
        """Look at a block, before it is remembered; `scan` has looked at `channel`."""
        channel, latest = self.channel, self._latest
        segment = scan.segment.take(channel)
        heard = latest.steady.take(channel)
        held = latest.raw.take(channel) ^ self._roster.sign.take(channel)
        low, high = scan.least.take(segment), scan.greatest.take(segment)
        known = heard > NEVER
        np.minimum(low, held, out=low, where=known)
        np.maximum(high, held, out=high, where=known)
        return Glance(view, low, high, heard, scan.stirred.take(segment))
