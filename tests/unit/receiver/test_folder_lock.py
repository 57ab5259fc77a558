# SPDX-License-Identifier: Apache-2.0
"""Two do not receive into one folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agent.errors import ConfigError, SpoolError
from agent.receiver.folder import folder_lock
from agent.spool.store import Spool, SpoolOptions

if TYPE_CHECKING:
    from pathlib import Path


def enter(out: Path) -> None:
    with folder_lock(out):
        pass


def test_a_folder_is_one_receivers_until_it_ends(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    with folder_lock(out):
        with pytest.raises(SpoolError, match="out: another process receives into this folder"):
            enter(out)
        enter(tmp_path / "another")
    enter(out)


@pytest.mark.parametrize("place", ["", "normal"])
def test_a_spool_is_received_into_by_nobody(tmp_path: Path, place: str) -> None:
    Spool.open(tmp_path / "normal", SpoolOptions(16 << 20)).close()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ConfigError, match="is a spool"):
        enter(tmp_path / place)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SpoolError, match=r"cannot use .*/file"):
        enter(tmp_path / "file")
