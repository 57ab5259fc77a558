# SPDX-License-Identifier: Apache-2.0
"""Whether a file is there: yes, no, or nobody can say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agent.system.durable import is_there

if TYPE_CHECKING:
    from pathlib import Path


def test_what_is_there_is_told_from_what_is_not(tmp_path: Path) -> None:
    file, loop = tmp_path / "file", tmp_path / "loop"
    file.touch()
    loop.symlink_to(loop)
    assert [is_there(each) for each in (file, tmp_path / "none", file / "below", loop)] == [True, False, False, False]


def test_what_nobody_can_tell_is_no_answer(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="File name too long"):
        is_there(tmp_path / ("n" * 300))
