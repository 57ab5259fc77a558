# SPDX-License-Identifier: Apache-2.0
"""Definitions kept on disk are used again as they were, and cost nothing but a load where they are bad."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agent.decode import cache, isolation
from agent.decode.loading import load_databases
from agent.errors import DatabaseError
from tests.car_dbc import TEXT, car_dbc

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def dbc(tmp_path: Path) -> Path:
    return car_dbc(tmp_path)


@pytest.fixture
def no_child(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "_CHILD", "raise SystemExit(9)")


@pytest.fixture
def kept(dbc: Path, tmp_path: Path) -> Path:
    """A cache that holds the file's definitions, put there without a child process."""
    folder = tmp_path / "cache"
    path = cache.cache_file(folder, [("can0", str(dbc))], {"can0": "auto"})
    assert path
    cache.keep(path, load_databases([("can0", dbc)], isolated=False))
    return folder


@pytest.mark.usefixtures("no_child")
def test_another_content_bus_setting_or_order_is_loaded_anew(dbc: Path, kept: Path, tmp_path: Path) -> None:
    assert load_databases([("can0", dbc)], cache=kept) == load_databases([("can0", dbc)], isolated=False)
    with pytest.raises(DatabaseError):
        load_databases([("can1", dbc)], cache=kept)
    with pytest.raises(DatabaseError):
        load_databases([("can0", dbc)], j1939=True, cache=kept)
    dbc.write_text(TEXT.replace("0.25", "0.5"))
    with pytest.raises(DatabaseError):
        load_databases([("can0", dbc)], cache=kept)


@pytest.mark.usefixtures("no_child")
def test_a_damaged_cache_is_not_believed(dbc: Path, kept: Path) -> None:
    (path,) = kept.iterdir()
    whole = path.read_bytes()
    for place in (0, 31, 32, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert cache.read_kept(path) is None
        path.write_bytes(whole[:place])
        assert cache.read_kept(path) is None
    path.write_bytes(whole)
    assert cache.read_kept(path) == load_databases([("can0", dbc)], isolated=False)


def test_only_the_latest_definitions_are_kept(dbc: Path, tmp_path: Path) -> None:
    loaded = load_databases([("can0", dbc)], isolated=False)
    (tmp_path / f"old{cache.SUFFIX}.part").write_bytes(b"cut off")
    for number in range(7):
        cache.keep(tmp_path / f"{number}{cache.SUFFIX}", loaded)
    kept = [f"{number}{cache.SUFFIX}" for number in range(7 - cache.FILES_MAX, 7)]
    assert sorted(path.name for path in tmp_path.iterdir() if path != dbc) == kept


def test_a_cache_that_cannot_be_written_changes_nothing(dbc: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    cache.keep(tmp_path / "file" / f"x{cache.SUFFIX}", load_databases([("can0", dbc)], isolated=False))
    assert (tmp_path / "file").read_text() == "in the way"


def test_numbers_past_64_bits_are_not_kept(dbc: Path, tmp_path: Path) -> None:
    dbc.write_text(TEXT.replace("(2,0)", "(2,100000000000000000000000)"))
    path = tmp_path / f"x{cache.SUFFIX}"
    loaded = load_databases([("can0", dbc)], isolated=False)
    assert loaded.messages[0].signals[2].offset == 10**23
    cache.keep(path, loaded)
    assert not path.exists()
