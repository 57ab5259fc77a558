# SPDX-License-Identifier: Apache-2.0
"""What the tests of the commands share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.checking import Checked

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Checked:
    return Checked(tmp_path, capsys)
