# SPDX-License-Identifier: Apache-2.0
"""Recorded MF4 logs as asammdf writes them, beside what python-can's reader makes of them."""

from __future__ import annotations

import gzip
import importlib
from typing import TYPE_CHECKING

import pytest

from agent.errors import LogFileError
from agent.sources.canlib import python_can
from agent.sources.logfile import read_log
from tests.unit.sources.oracle import messages, read_alike

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(120)  # asammdf brings pandas


@pytest.mark.parametrize("packed", [False, True])
def test_a_log_gives_what_python_cans_reader_gives(packed: bool, tmp_path: Path) -> None:
    python_can()
    mf4 = importlib.reload(importlib.import_module("can.io.mf4"))  # it may have been imported without asammdf
    path = plain = tmp_path / "drive.mf4"
    with mf4.MF4Writer(str(plain)) as writer:
        for message in messages():
            writer.on_message_received(message)
    if packed:
        path = tmp_path / "drive.mf4.gz"
        path.write_bytes(gzip.compress(plain.read_bytes()))
    with mf4.MF4Reader(str(plain)) as reader:
        assert read_alike(path, reader) > 200


def test_what_is_no_mf4_log_is_one_line_that_says_so(tmp_path: Path) -> None:
    path = tmp_path / "drive.mf4"
    path.write_bytes(b"this is not MF4")
    with pytest.raises(LogFileError, match="byte 0: no MDF log"):
        list(read_log(path))
