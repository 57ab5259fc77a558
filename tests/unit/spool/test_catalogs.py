# SPDX-License-Identifier: Apache-2.0
"""The shelf of catalogs: what it keeps, what it remembers, what it lets go."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agent.errors import SpoolError
from agent.spool.catalogs import MARK_DAYS, CatalogStore

if TYPE_CHECKING:
    from pathlib import Path

DAY_S = 86_400.0


def test_catalogs_and_marks_survive_a_restart(tmp_path: Path) -> None:
    shelf = CatalogStore(tmp_path)
    shelf.put("one", b"ONE")
    shelf.put("two", b"TWO")
    shelf.mark_sent("a:1", "one")
    again = CatalogStore(tmp_path)
    assert (again.get("one"), again.get("two"), again.get("three")) == (b"ONE", b"TWO", None)
    assert again.is_sent("a:1", "one")
    assert not again.is_sent("a:1", "two")
    assert not again.is_sent("b:1", "one")
    assert not list(tmp_path.glob("*.part"))


def test_a_mark_does_not_hold_for_ever(tmp_path: Path) -> None:
    now = 1000.0 * DAY_S
    shelf = CatalogStore(tmp_path, clock=lambda: now)
    shelf.mark_sent("a:1", "one")
    now += (MARK_DAYS - 1) * DAY_S
    assert shelf.is_sent("a:1", "one")
    now += 1.1 * DAY_S
    assert not shelf.is_sent("a:1", "one")


def test_pruning_keeps_the_current_catalog_and_the_named_ones(tmp_path: Path) -> None:
    shelf = CatalogStore(tmp_path)
    for name in ("one", "two", "three"):
        shelf.put(name, name.encode())
        shelf.mark_sent("a:1", name)
    shelf.prune({"one"})
    assert [shelf.get(name) for name in ("one", "two", "three")] == [b"one", None, b"three"]
    again = CatalogStore(tmp_path)
    assert [again.is_sent("a:1", name) for name in ("one", "two", "three")] == [True, False, True]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"a:1": 5}', b'{"a:1": {"one": "x"}}', b"\xff\xfe"])
def test_unreadable_marks_cost_sending_again(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "sent.json").write_bytes(content)
    shelf = CatalogStore(tmp_path)
    assert not shelf.is_sent("a:1", "one")
    shelf.mark_sent("a:1", "one")
    assert CatalogStore(tmp_path).is_sent("a:1", "one")


def test_a_torn_catalog_is_written_anew(tmp_path: Path) -> None:
    (tmp_path / "one.catalog.zst").write_bytes(b"O")
    shelf = CatalogStore(tmp_path)
    shelf.put("one", b"ONE")
    assert shelf.get("one") == b"ONE"


def sound(content: bytes, name: str) -> bool:
    return content == name.upper().encode()


def test_a_catalog_that_is_damaged_is_as_good_as_none_but_for_the_current_one(tmp_path: Path) -> None:
    shelf = CatalogStore(tmp_path, is_valid=sound)
    shelf.put("old", b"OLD")
    shelf.put("new", b"NEW")
    for name in ("old", "new"):
        (tmp_path / f"{name}.catalog.zst").write_bytes(b"?")
    assert shelf.get("old") is None
    assert shelf.get("new") == b"NEW"
    assert (tmp_path / "new.catalog.zst").read_bytes() == b"NEW"
    (tmp_path / "new.catalog.zst").unlink()
    assert shelf.get("new") == b"NEW"


def test_marks_are_kept_for_few_brokers(tmp_path: Path) -> None:
    shelf = CatalogStore(tmp_path)
    for number in range(20):
        shelf.mark_sent(f"b:{number}", "one")
    assert sum(shelf.is_sent(f"b:{number}", "one") for number in range(20)) == 8
    assert shelf.is_sent("b:19", "one")


@pytest.mark.parametrize("name", ["", "../x", "a/b", "x" * 200])
def test_a_name_never_leaves_the_directory(tmp_path: Path, name: str) -> None:
    shelf = CatalogStore(tmp_path)
    assert shelf.get(name) is None
    with pytest.raises(ValueError, match="catalog name"):
        shelf.put(name, b"x")


def test_a_disk_that_refuses_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SpoolError, match="file"):
        CatalogStore(tmp_path / "file" / "catalogs")


def test_a_mark_that_the_disk_has_no_room_for_costs_sending_again(tmp_path: Path) -> None:
    shelf = CatalogStore(tmp_path)
    (tmp_path / "sent.json.part").mkdir()  # what cannot be written to
    shelf.mark_sent("a:1", "one")
    assert shelf.is_sent("a:1", "one")
    assert not CatalogStore(tmp_path).is_sent("a:1", "one")
