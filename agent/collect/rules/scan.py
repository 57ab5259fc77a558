# SPDX-License-Identifier: Apache-2.0
"""One look at all channels that rules or triggers watch: which have changed, and within what bounds they stayed.

What has not changed cannot concern anyone. Of what has, the least and the greatest key tell most watchers that it
has not left the range in which it is of no concern to them.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from agent.collect.steady_clock import NEVER

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from agent.collect.block_view import BlockView
    from agent.collect.signal_index import LastSamples


MOST = np.uint64(0xFFFF_FFFF_FFFF_FFFF)
"""No key is greater."""


class ChangeScan:
    """The watched channels of a block; arrays by segment, one for each of its columns that are watched.

    channel int64 (S,) · gathered: their values · raw uint64, of these
    changed    bool, by value: another raw value than the one before, or none before, or its lane returned
    stirred    bool (S+1,): any of the segment's has; False in the last place, that of channels that are not here
    least, greatest   uint64 (S+1,): of the segment's keys; in the last place what is less, or greater, than none
    """

    def __init__(
        self, view: BlockView, latest: LastSamples, watched: NDArray[np.bool_], returns: NDArray[np.int64] | None
    ) -> None:
        self.view = view
        columns = watched.take(view.channel).nonzero()[0]
        self.channel = view.channel.take(columns)
        self.gathered = view.gather(columns)
        self.raw = raw = view.block.values.take(self.gathered.place)
        self.changed = changed = np.empty(len(raw), np.bool_)
        first = self.gathered.begin[:-1]
        np.not_equal(raw[1:], raw[:-1], out=changed[1:])
        changed[first] = (raw.take(first) != latest.raw.take(self.channel)) | (
            latest.steady.take(self.channel) == NEVER
        )
        if returns is not None:
            count = returns.take(view.rows_of(self.gathered))
            returned = np.empty(len(raw), np.bool_)
            np.not_equal(count[1:], count[:-1], out=returned[1:])
            returned[first] = count.take(first) != latest.returns.take(self.channel)
            changed |= returned
        self.stirred = np.zeros(len(columns) + 1, np.bool_)
        if len(columns):
            np.logical_or.reduceat(changed, first, out=self.stirred[:-1])

    @cached_property
    def segment(self) -> NDArray[np.int64]:
        """int64: the segment of each channel, -1 where it has none."""
        segment = np.full(len(self.view.roster.lane), -1, np.int64)
        segment[self.channel] = np.arange(len(self.channel))
        return segment

    @cached_property
    def keys(self) -> NDArray[np.uint64]:
        """uint64: the key of each value."""
        keys: NDArray[np.uint64] = self.raw ^ self.view.roster.sign.take(self.channel).repeat(self.gathered.counts)
        return keys

    @cached_property
    def least(self) -> NDArray[np.uint64]:
        """As above."""
        return self._reduced(np.minimum, MOST)

    @cached_property
    def greatest(self) -> NDArray[np.uint64]:
        """As above."""
        return self._reduced(np.maximum, np.uint64(0))

    def _reduced(self, reduce: np.ufunc, of_none: np.uint64) -> NDArray[np.uint64]:
        reduced = np.full(len(self.channel) + 1, of_none, np.uint64)
        if len(self.channel):
            reduce.reduceat(self.keys, self.gathered.begin[:-1], out=reduced[:-1])
        return reduced
