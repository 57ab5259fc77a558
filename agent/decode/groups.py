# SPDX-License-Identifier: Apache-2.0
"""Frames whose 29-bit identifier no DBC file names, but whose parameter group one does: J1939 or NMEA 2000 that is not
matched by PGN, because neither the file nor anybody else says so.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from agent.decode.plan import parameter_group
from agent.model import EXTENDED, EXTENDED_MASK

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from agent.model import FrameBlock, MessageDefinition

IDS_MAX = 4096
"""So many identifiers are looked at."""


class GroupWatch:
    """Counts the 29-bit identifiers of the blocks that pass; `buses` are the names that a block's indexes mean."""

    def __init__(self, buses: Sequence[str]) -> None:
        self._buses = tuple(buses)
        self._seen: Counter[tuple[int, int]] = Counter()

    def passing(self, blocks: Iterable[FrameBlock]) -> Iterator[FrameBlock]:
        """The same blocks."""
        for block in blocks:
            keys = block.bus.astype(np.uint64) << np.uint64(32) | block.can_id
            words, counts = np.unique(keys[block.can_id >= EXTENDED], return_counts=True)
            for key, count in zip(words.tolist(), counts.tolist(), strict=True):
                where = (key >> 32, key & 0xFFFF_FFFF)
                if where in self._seen or len(self._seen) < IDS_MAX:
                    self._seen[where] += count
            yield block

    def hint(self, messages: Sequence[MessageDefinition], advice: str) -> str:
        """What would match more of them, and by what; "" where nothing would."""
        named = {(message.bus, message.can_id) for message in messages}
        grouped = {(m.bus, parameter_group(m.can_id)) for m in messages if m.j1939}
        plain = {(m.bus, parameter_group(m.can_id)): m for m in messages if m.can_id & EXTENDED and not m.j1939}
        ids, frames, example = 0, 0, ""
        for (bus, can_id), count in sorted(self._seen.items()):
            group = (self._buses[bus], parameter_group(can_id))
            if (self._buses[bus], can_id) in named or group in grouped or group not in plain:
                continue
            ids, frames = ids + 1, frames + count
            pgn = parameter_group(can_id) >> 8
            example = example or f"0x{can_id & EXTENDED_MASK:X} is PGN {pgn}, as {plain[group].name}"
        if not ids:
            return ""
        these = "29-bit identifier fits a message" if ids == 1 else "29-bit identifiers fit messages"
        return f"{ids:,} {these} by PGN alone, {frames:,} frames ({example}): {advice} matches them"
