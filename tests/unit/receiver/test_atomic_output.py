# SPDX-License-Identifier: Apache-2.0
"""What a person names as the place of a file: a new name, one that is there, a link, a device."""

from __future__ import annotations

import os
import select
import stat
from typing import TYPE_CHECKING

import pytest

from agent.errors import AgentError
from agent.receiver.atomic_output import atomic_output
from agent.receiver.export import export
from agent.receiver.inventory import Inventory
from agent.receiver.writers import BINARY_FORMATS, TEXT_FORMATS
from tests.support.samples import START, batch, steer, store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FULL = os.makedev(1, 7)  # as /dev/full is


def write(out: Path, text: str = "new") -> None:
    with atomic_output(out) as draft:
        draft.write_text(text)


def fail(out: Path) -> None:
    with atomic_output(out) as draft:
        draft.write_text("half")
        raise ZeroDivisionError


def test_a_file_is_replaced_when_it_is_complete_and_stays_where_it_is_not(tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    write(out, "old")
    with pytest.raises(ZeroDivisionError):
        fail(out)
    assert out.read_text() == "old"
    write(out)
    assert out.read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]


@pytest.mark.parametrize("there", [True, False])
def test_of_a_link_the_target_is_replaced(tmp_path: Path, there: bool) -> None:
    target, link = tmp_path / "disk" / "today.csv", tmp_path / "latest.csv"
    target.parent.mkdir()
    if there:
        target.write_text("old")
    link.symlink_to(target)
    write(link)
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert [path.name for path in target.parent.iterdir()] == ["today.csv"]


def test_of_a_link_to_a_folder_the_folder_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "lake").symlink_to(tmp_path / "disk")
    with atomic_output(tmp_path / "lake") as draft:
        draft.mkdir()
        (draft / "part-0").touch()
    assert (tmp_path / "lake").is_symlink()
    assert (tmp_path / "disk" / "part-0").exists()


@pytest.fixture
def fifo(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """One that is read: its name and its other end."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    end = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    yield path, end
    os.close(end)


@pytest.mark.parametrize("name", [*TEXT_FORMATS, *BINARY_FORMATS])
def test_a_fifo_stays_one_and_its_reader_gets_the_file(tmp_path: Path, fifo: tuple[Path, int], name: str) -> None:
    store(tmp_path, 0, batch(0, [steer(START, 3)]))
    out, end = fifo
    export(Inventory([tmp_path]), name, out)
    assert out.is_fifo()
    export(Inventory([tmp_path]), name, tmp_path / "file")
    assert len(os.read(end, 1 << 20)) == (tmp_path / "file").stat().st_size > 0


def test_the_reader_of_a_fifo_sees_its_end_where_nothing_comes(fifo: tuple[Path, int]) -> None:
    out, end = fifo
    with pytest.raises(ZeroDivisionError):
        fail(out)
    seen = select.poll()
    seen.register(end)
    assert seen.poll(0) == [(end, select.POLLHUP)]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes devices")
def test_a_device_stays_one_and_refuses_in_one_line(tmp_path: Path) -> None:
    device = tmp_path / "full"
    try:
        os.mknod(device, stat.S_IFCHR | 0o600, FULL)
        device.open("wb").close()
    except PermissionError:
        pytest.skip("devices cannot be made or used here")
    with pytest.raises(AgentError, match=r"full: No space left on device$"):
        write(device)
    assert device.is_char_device()
