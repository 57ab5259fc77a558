# SPDX-License-Identifier: Apache-2.0
"""What export formats are written from: a batch joined with its catalog, cut into windows of time.

A `Part` is some rows of one group of a batch; a window is the parts of all batches whose frames lie in the same
stretch of time, so that a writer has to sort within windows only.
Failure: a batch that names messages, buses or signals which its catalog has not raises `BatchError`: neither is
trusted, both came over a wire.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from agent.errors import BatchError
from agent.model import EXTENDED, EXTENDED_MASK

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from agent.batch.catalog import Catalog
    from agent.batch.codec import Batch, Group
    from agent.model import MessageDefinition

UNKNOWN = -1
"""`Group.message` of raw frames that no definition names; its signals are the payload's bytes."""


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of one group.

    bus       name of the bus
    message   None for raw frames of an unknown id
    rows      int64 (n,), ascending row numbers of the group
    """

    group: Group
    bus: str
    message: MessageDefinition | None
    rows: NDArray[np.int64]

    @property
    def can_id(self) -> int:
        """The 11- or 29-bit identifier without flags."""
        return self.group.can_id & EXTENDED_MASK

    @property
    def extended(self) -> bool:
        """Whether the identifier has 29 bits."""
        return bool(self.group.can_id & EXTENDED)

    @property
    def time_ns(self) -> NDArray[np.int64]:
        """Times of the rows, int64 (n,)."""
        return self.group.time_ns[self.rows]

    def shaped(self) -> Iterator[Shaped]:
        """The rows by the signals that they carry, in order of appearance of the shape."""
        shape = self.group.shape[self.rows]
        if not len(shape):
            return
        if shape[0] == shape[-1] and (shape == shape[0]).all():
            yield Shaped(self, np.arange(len(shape)), self.group.shapes[int(shape[0])])
            return
        for number in np.unique(shape).tolist():
            yield Shaped(self, np.flatnonzero(shape == number), self.group.shapes[number])


@dataclass(frozen=True, slots=True)
class Shaped:
    """Rows of a part that carry the same signals; `index` counts within the part."""

    part: Part
    index: NDArray[np.int64]
    signals: tuple[int, ...]

    def raw(self, signal: int) -> NDArray[np.uint64]:
        """Field bits of one of the `signals`, uint64, one for each of `index`."""
        group, rows = self.part.group, self.part.rows[self.index]
        column = group.columns[signal]
        if len(column) == len(group.time_ns):
            return column[rows]
        return column[np.searchsorted(group.rows(signal), rows)]


def whole(batch: Batch, catalog: Catalog) -> list[Part]:
    """Every group of a batch as a part of all its rows; raises `BatchError` where the two do not fit."""
    return [
        Part(
            group,
            _bus(group, catalog),
            _message(group, catalog),
            np.arange(len(group.time_ns), dtype=np.int64),
        )
        for group in batch.groups
    ]


def cut(parts: list[Part], low_ns: int, high_ns: int) -> list[Part]:
    """The rows of each part with low_ns <= time < high_ns; parts without any are left out."""
    pieces = []
    for part in parts:
        times = part.time_ns
        inside = (times >= low_ns) & (times < high_ns)
        if not inside.any():
            continue
        if inside.all():
            pieces.append(part)
        else:
            pieces.append(Part(part.group, part.bus, part.message, part.rows[inside]))
    return pieces


def _bus(group: Group, catalog: Catalog) -> str:
    if not 0 <= group.bus < len(catalog.buses):
        raise BatchError(f"bus {group.bus} is not in catalog {catalog.hash}, which has {len(catalog.buses)}")
    return catalog.buses[group.bus]


def _message(group: Group, catalog: Catalog) -> MessageDefinition | None:
    if group.message == UNKNOWN:
        message, signals = None, 64
    elif 0 <= group.message < len(catalog.messages):
        message = catalog.messages[group.message]
        signals = len(message.signals)
    else:
        raise BatchError(f"message {group.message} is not in catalog {catalog.hash}")
    if any(not 0 <= signal < signals for shape in group.shapes for signal in shape):
        name = message.name if message else "an unknown frame"
        raise BatchError(f"a signal of {name} is not in catalog {catalog.hash}")
    return message
