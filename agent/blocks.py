# SPDX-License-Identifier: Apache-2.0
"""Arrays of blocks: pieces laid end to end, sorted tables searched; blocks split, and merged."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from agent.model import SignalBlock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from agent.model import FrameBlock


N = TypeVar("N", np.int64, np.uint64)


def starts(counts: NDArray[np.int64] | Sequence[int]) -> NDArray[np.int64]:
    """Where pieces of these lengths begin when laid end to end, and where the last ends: int64 (len + 1,)."""
    begin = np.zeros(len(counts) + 1, np.int64)
    np.asarray(counts, np.int64).cumsum(out=begin[1:])
    return begin


def runs(first: NDArray[np.int64], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """The places of pieces, end to end: first[0], first[0] + 1, … (counts[0] of them), first[1], …"""
    begin = starts(counts)
    places = np.arange(begin[-1])
    places += (first - begin[:-1]).repeat(counts)
    return places


def find(table: NDArray[N], keys: NDArray[N]) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Where each key stands in a sorted table, and whether it really does."""
    if not len(table):
        return np.zeros(len(keys), np.intp), np.zeros(len(keys), np.bool_)
    at = np.minimum(np.searchsorted(table, keys), len(table) - 1)
    return at, table.take(at) == keys


_FRAME_OVERHEAD_BYTES = 3
_SHARE, _BYTES_MIN = 3 / 4, 128


def split_frames(frames: FrameBlock, payload_bytes: int) -> list[tuple[int, int]]:
    """Begin and end of each piece, for batches of this size; one where they are few, none of no frames."""
    if not len(frames):
        return []
    size = np.cumsum(frames.length.astype(np.int64) + _FRAME_OVERHEAD_BYTES)
    steps = np.arange(0, int(size[-1]), max(int(payload_bytes * _SHARE), _BYTES_MIN))
    return list(pairwise([*np.unique(np.searchsorted(size, steps, side="right")).tolist(), len(frames)]))


def merge_blocks(blocks: Sequence[SignalBlock]) -> SignalBlock:
    """One block of all rows, those of a group in the order of the blocks given. At least one block."""
    if len(blocks) == 1:
        return blocks[0]
    shapes, renumbered = _join_shapes(blocks)
    keys = np.concatenate([block.group_key for block in blocks])
    rows = _Merged(keys, np.concatenate([np.diff(block.row_start) for block in blocks]))
    column_key = np.concatenate([block.group_key[block.column_group] for block in blocks])
    signal = np.concatenate([block.column_signal for block in blocks])
    # Group and signal as one number: the group's rank among all, which is smaller than its key.
    identity = (np.searchsorted(rows.keys, column_key).astype(np.uint64) << np.uint64(16)) | signal.astype(np.uint64)
    columns = _Merged(identity, np.concatenate([np.diff(block.column_start) for block in blocks]))
    bits = np.concatenate([block.bits for block in blocks])
    return SignalBlock(
        rows.keys,
        rows.start,
        np.concatenate([block.time_ns for block in blocks]).take(rows.order),
        np.concatenate(renumbered).take(rows.order),
        (columns.keys >> np.uint64(16)).astype(np.int32),
        (columns.keys & np.uint64(0xFFFF)).astype(np.int32),
        columns.start,
        np.concatenate([block.values for block in blocks]).take(columns.order),
        bits[columns.first],
        shapes,
    )


class _Merged:
    """Pieces with a key each, laid end to end: those of one key joined, keys ascending.

    keys   each once · first   a piece that has it · start   where its elements begin now
    order  int64, the old place of each element
    """

    def __init__(self, keys: NDArray[np.uint64], counts: NDArray[np.int64]) -> None:
        begin = np.cumsum(counts) - counts
        by_key = np.argsort(keys, kind="stable")
        keys, counts = keys.take(by_key), counts.take(by_key)
        each = np.ones(len(keys), np.bool_)
        np.not_equal(keys[1:], keys[:-1], out=each[1:])
        at = np.flatnonzero(each)
        self.keys, self.first = keys.take(at), by_key.take(at)
        self.order = runs(begin.take(by_key), counts)
        self.start = np.append(starts(counts).take(at), len(self.order))


def _join_shapes(blocks: Sequence[SignalBlock]) -> tuple[list[tuple[int, ...]], list[NDArray[np.int32]]]:
    """One list of shapes for all blocks, and each block's shape numbers in it."""
    shapes = blocks[0].shapes
    if all(block.shapes is shapes for block in blocks):
        return shapes, [block.shape for block in blocks]
    number: dict[tuple[int, ...], int] = {}
    renumbered = []
    for block in blocks:
        table = np.array([number.setdefault(shape, len(number)) for shape in block.shapes], np.int32)
        renumbered.append(table[block.shape])
    return list(number), renumbered
