# SPDX-License-Identifier: Apache-2.0
"""Which message takes which part of the bytes on the wire.

A batch is compressed as a whole, so that no byte of it belongs to one message. What can be measured is how long each
message's columns are when they are encoded by themselves, by the batch's own encoder; the batch's bytes are shared
out in this proportion. Limits: at most `MEASURED_MAX` batches, spread evenly over all, speak for the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from agent.batch.codec import Header, encode_batch
from agent.blocks import starts
from agent.config import BatchConfig
from agent.model import SignalBlock, group_key

if TYPE_CHECKING:
    from agent.batch.codec import Batch, Group
    from agent.model import MessageDefinition

MEASURED_MAX = 60
LEVEL = BatchConfig().compression_level
"""zstd's."""
_BITS_OF_BYTE = 8


class MessageBytes:
    """Shares out the bytes of batches among what is in them."""

    def __init__(self, batches: int) -> None:
        self._every = max(1, -(-batches // MEASURED_MAX))
        self._seen = 0
        self._parts: dict[object, float] = {}
        self.total_bytes = 0
        self.measured_batches = 0

    def add(self, batch: Batch, size_bytes: int, keys: list[object], messages: tuple[MessageDefinition, ...]) -> None:
        """Add a batch of so many bytes; `keys` tell what each of its groups is counted for."""
        self.total_bytes += size_bytes
        if self._seen % self._every == 0 and batch.groups:
            self.measured_batches += 1
            empty = _length(batch, SignalBlock.empty(), messages)
            lengths = [max(_length(batch, _block(group, messages), messages) - empty, 1) for group in batch.groups]
            for key, length in zip(keys, lengths, strict=True):
                self._parts[key] = self._parts.get(key, 0.0) + size_bytes * length / sum(lengths)
        self._seen += 1

    def shares(self) -> dict[object, float]:
        """Bytes of each; all together the bytes of all batches."""
        whole = sum(self._parts.values())
        return {key: self.total_bytes * part / whole for key, part in self._parts.items()}


def _length(batch: Batch, block: SignalBlock, messages: tuple[MessageDefinition, ...]) -> int:
    """Bytes of a batch that holds nothing but these frames."""
    opened_ns, sealed_ns = (int(f(block.time_ns)) if len(block) else batch.opened_ns for f in (np.min, np.max))
    header = Header(batch.id, batch.catalog, batch.resolution_ns, opened_ns, sealed_ns, len(block))
    return len(encode_batch(header, block, messages, LEVEL))


def _block(group: Group, messages: tuple[MessageDefinition, ...]) -> SignalBlock:
    columns = group.columns
    lengths = [len(column) for column in columns.values()]
    return SignalBlock(
        np.array([group_key(group.message, group.bus, group.can_id)], np.uint64),
        np.array([0, len(group.time_ns)], np.int64),
        group.time_ns,
        group.shape.astype(np.int32),
        np.zeros(len(columns), np.int32),
        np.array(list(columns), np.int32),
        starts(lengths),
        np.concatenate([np.empty(0, np.uint64), *columns.values()]),
        np.array(
            [
                _BITS_OF_BYTE if group.message < 0 else messages[group.message].signals[number].length
                for number in columns
            ],
            np.uint8,
        ),
        list(group.shapes),
    )
