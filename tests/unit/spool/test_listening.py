# SPDX-License-Identifier: Apache-2.0
"""Since when the buses are listened to, as the next process finds it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from agent.errors import SpoolError
from agent.spool.listening import FILE, ListeningMark

if TYPE_CHECKING:
    from pathlib import Path


def test_first_process_finds_nothing_and_leaves_its_time(tmp_path: Path) -> None:
    first, second = ListeningMark(tmp_path / "spool"), ListeningMark(tmp_path / "spool")
    first.begin(1_000)
    second.begin(2_000)
    assert (first.since_ns, second.since_ns) == (0, 1_000)


def test_time_of_a_process_that_took_nothing_over_is_kept(tmp_path: Path) -> None:
    for now_ns in (1_000, 2_000, 3_000):
        mark = ListeningMark(tmp_path)
        mark.begin(now_ns)
    assert mark.since_ns == 1_000


def test_time_moves_on_when_all_before_it_is_told(tmp_path: Path) -> None:
    first, second = ListeningMark(tmp_path), ListeningMark(tmp_path)
    first.begin(1_000)
    first.recovered(1_500)
    second.begin(2_000)
    assert (first.since_ns, second.since_ns) == (0, 1_500)


def test_end_in_good_order_leaves_nothing(tmp_path: Path) -> None:
    first, second = ListeningMark(tmp_path), ListeningMark(tmp_path)
    first.begin(1_000)
    first.end()
    assert not (tmp_path / FILE).exists()
    second.begin(2_000)
    assert second.since_ns == 0


@pytest.mark.parametrize("content", [b"", b"\0" * 4096, b"\xff\xfe", b"-5\n", b"9" * 10_000_000])
def test_damaged_file_counts_from_when_it_was_written(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    os.utime(tmp_path / FILE, ns=(0, 1_234_000_000_000))
    mark = ListeningMark(tmp_path)
    mark.begin(9_999_000_000_000)
    expected = int(b"9" * 64) if content.startswith(b"9") else 1_234_000_000_000
    assert mark.since_ns == expected


def test_disk_that_refuses_is_an_error_before_anything_is_heard(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SpoolError, match=r"file/spool/listening: cannot note that the agent listens"):
        ListeningMark(tmp_path / "file" / "spool").begin(1_000)
