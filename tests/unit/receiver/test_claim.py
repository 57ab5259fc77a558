# SPDX-License-Identifier: Apache-2.0
"""Two do not receive into one folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agent.errors import SpoolError
from agent.receiver.claim import claimed

if TYPE_CHECKING:
    from pathlib import Path


def enter(out: Path) -> None:
    with claimed(out):
        pass


def test_a_folder_is_one_receivers_until_it_ends(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    with claimed(out):
        with pytest.raises(SpoolError, match="out: another process receives into this folder"):
            enter(out)
        enter(tmp_path / "another")
    enter(out)


def test_a_folder_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SpoolError, match=r"cannot use .*/file"):
        enter(tmp_path / "file")
