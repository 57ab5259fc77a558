# SPDX-License-Identifier: Apache-2.0
"""Which folders a recording is replayed into."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agent.config.priorities import Priority
from agent.errors import ConfigError
from agent.receiver.folder import open_folder
from agent.spool.store import Spool, SpoolOptions
from tests.support.samples import START, batch, catalog, steer, store

if TYPE_CHECKING:
    from pathlib import Path


def test_batches_and_their_catalog_go_into_a_new_folder(tmp_path: Path) -> None:
    stores = open_folder(tmp_path / "out", "car-1", catalog(), [Priority.NORMAL])
    assert list(stores) == [Priority.NORMAL]
    assert [path.suffixes for path in tmp_path.rglob("*.zst")] == [[".catalog", ".zst"]]


def test_a_folder_that_holds_batches_is_refused(tmp_path: Path) -> None:
    store(tmp_path, 0, batch(0, [steer(START, 1)]))
    with pytest.raises(ConfigError, match="holds batches already"):
        open_folder(tmp_path, "car-1", catalog(), [Priority.NORMAL])


@pytest.mark.parametrize("place", ["", "normal"])
def test_an_agents_spool_is_refused_and_left_as_it_is(tmp_path: Path, place: str) -> None:
    Spool.open(tmp_path / "normal", SpoolOptions(16 << 20)).close()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ConfigError, match="is a spool"):
        open_folder(tmp_path / place, "car-1", catalog(), [Priority.NORMAL])
    assert sorted(tmp_path.rglob("*")) == before
