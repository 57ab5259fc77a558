# SPDX-License-Identifier: Apache-2.0
"""Pieces of arrays, laid end to end; and sorted arrays, searched."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

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
