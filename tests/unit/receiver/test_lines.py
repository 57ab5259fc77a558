# SPDX-License-Identifier: Apache-2.0
"""Times are exact decimals; cells of text are fit for a spreadsheet."""

from __future__ import annotations

import csv
from decimal import Decimal
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.batch.catalog import Catalog
from agent.model import MessageDefinition, SignalDefinition
from agent.receiver.export import export
from agent.receiver.inventory import Inventory
from agent.receiver.lines import times_text
from tests.support.samples import MS, START, batch, store

if TYPE_CHECKING:
    from pathlib import Path


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=5), st.sampled_from([1, 1000, 10**6, 10**9]))
def test_a_time_loses_nothing(times: list[int], unit: int) -> None:
    rounded = np.array([time // unit * unit for time in times if time // unit * unit >= -(2**63)], np.int64)

    texts = times_text(rounded)

    assert [Decimal(text) * 10**9 for text in texts] == rounded.tolist()


@pytest.mark.parametrize(
    ("time_ns", "text"),
    [
        (1_700_000_000_123_000_000, "1700000000.123"),
        (1_700_000_000_000_000_000, "1700000000.000"),
        (1_700_000_000_123_456_000, "1700000000.123456"),
        (1_700_000_000_123_456_789, "1700000000.123456789"),
        (5_000_000, "0.005"),
        (-5_000_000, "-0.005"),
    ],
)
def test_a_time_has_as_many_decimals_as_it_needs(time_ns: int, text: str) -> None:
    assert times_text(np.array([time_ns], np.int64)) == [text]


CELLS = [
    ("=1+2", "'=1+2"),
    ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
    ("-2+3", "'-2+3"),
    ("@SUM(A1)", "'@SUM(A1)"),
    ("-", "-"),
    ("-40", "-40"),
    ("+1e3", "+1e3"),
    ("N,m", "N,m"),
    ('a "b"', 'a "b"'),
    ("\t=1", r"\t=1"),
    ("\r=1", r"\r=1"),
    ("a\n\x1b", r"a\n\x1b"),
]


def test_a_cell_of_text_starts_no_formula_and_a_number_stays_one(tmp_path: Path) -> None:
    texts = [text for text, _ in CELLS]
    signals = tuple(
        SignalDefinition(text, 8 * n, 4, signed=True, scale=-1, unit=text, choices=((0, text),))
        for n, text in enumerate(texts[:8])
    )
    more = tuple(SignalDefinition(text, 8 * n, 4, unit=text, choices=((0, text),)) for n, text in enumerate(texts[8:]))
    messages = (MessageDefinition("can0", 1, "=A1", 8, signals), MessageDefinition("can0", 2, "=A2", 8, more))
    catalog = Catalog(("can0",), messages)
    frames = [(START, 0, 1, bytes(8)), (START + MS, 0, 2, bytes(8)), (START + 2 * MS, 0, 1, b"\x01" * 8)]
    store(tmp_path, 0, batch(0, frames, catalog=catalog), definitions=catalog)
    export(Inventory([tmp_path]), "csv", tmp_path / "out.csv", choices=True)
    with (tmp_path / "out.csv").open(newline="") as file:
        _, *rows = csv.reader(file)
    assert [(row[4], row[5], row[6]) for row in rows[: len(CELLS)]] == [(cell, cell, cell) for _, cell in CELLS]
    assert [row[5] for row in rows[len(CELLS) :]] == ["-1"] * 8
    assert {row[3] for row in rows} == {"'=A1", "'=A2"}
