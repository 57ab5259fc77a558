# SPDX-License-Identifier: Apache-2.0
"""A batch that was written down while it was open, made into a decoded block again."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np

from agent.blocks import starts
from agent.model import RAW_SIGNALS, SignalBlock, group_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from agent.batch.catalog import Catalog
    from agent.batch.content import Batch

_Number = TypeVar("_Number", bound=np.generic)


def signal_block(batch: Batch, catalog: Catalog) -> SignalBlock:
    """The rows of a batch as the decoder gave them, times in the batch's resolution."""
    number: dict[tuple[int, ...], int] = {}
    shapes = []
    columns: list[tuple[int, int, int, NDArray[np.uint64]]] = []
    for index, group in enumerate(batch.groups):
        table = np.array([number.setdefault(shape, len(number)) for shape in group.shapes], np.int32)
        shapes.append(table[group.shape])
        signals = RAW_SIGNALS if group.message < 0 else catalog.messages[group.message].signals
        columns += [(index, signal, signals[signal].length, column) for signal, column in group.columns.items()]
    return SignalBlock(
        np.array([group_key(group.message, group.bus, group.can_id) for group in batch.groups], np.uint64),
        starts([len(group.time_ns) for group in batch.groups]),
        _joined([group.time_ns for group in batch.groups], np.int64),
        _joined(shapes, np.int32),
        np.array([group for group, _, _, _ in columns], np.int32),
        np.array([signal for _, signal, _, _ in columns], np.int32),
        starts([len(column) for _, _, _, column in columns]),
        _joined([column for _, _, _, column in columns], np.uint64),
        np.array([bits for _, _, bits, _ in columns], np.uint8),
        list(number),
    )


def _joined(arrays: Sequence[NDArray[_Number]], dtype: type[_Number]) -> NDArray[_Number]:
    return np.concatenate([np.empty(0, dtype), *arrays])
