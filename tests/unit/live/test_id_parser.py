# SPDX-License-Identifier: Apache-2.0
"""How an id may be written."""

from __future__ import annotations

import pytest

from agent.live.explain_input import other_kind, parse_ids, shown_id
from agent.model import EXTENDED


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("0x123", [0x123]),
        ("0X7ff", [0x7FF]),
        ("0x800", [0x800 | EXTENDED]),
        ("123h", [0x123]),
        ("291", [291, 0x291]),
        ("2048", [2048 | EXTENDED, 0x2048 | EXTENDED]),
        ("18FEF100x", [0x18FEF100 | EXTENDED]),
        ("0x18FEF100X", [0x18FEF100 | EXTENDED]),
        ("123x", [0x123 | EXTENDED]),
        ("00000123", [0x123 | EXTENDED, 123, 0x123]),
        ("7E0", [0x7E0]),
        ("419361024", [419361024 | EXTENDED]),
        ("0xFFFFFFFF", []),
        ("99999999999", []),
        ("ENGINE_SPEED", []),
        ("", []),
        ("²", []),
    ],
)
def test_the_likeliest_reading_comes_first(text: str, ids: list[int]) -> None:
    assert [reading.can_id for reading in parse_ids(text)] == ids


def test_ids_are_shown_as_they_can_be_asked_for() -> None:
    for can_id in (0, 0x123, 0x7FF, EXTENDED, 0x18FEF100 | EXTENDED):
        assert parse_ids(shown_id(can_id))[0].can_id == can_id


def test_the_other_kind_has_the_same_number_where_it_fits() -> None:
    assert other_kind(0x123) == 0x123 | EXTENDED
    assert other_kind(0x123 | EXTENDED) == 0x123
    assert other_kind(0x800 | EXTENDED) is None
