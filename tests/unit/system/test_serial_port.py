# SPDX-License-Identifier: Apache-2.0
"""A line whose driver takes its time, or for ever."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.system import serial_port
from agent.system.serial_port import LineSplitter, Port
from tests.support.terminal import PATIENCE_S, Terminal, until

if TYPE_CHECKING:
    from pathlib import Path


class Driver:
    """Opens a terminal; hangs in it as long as `go_on` is not set."""

    def __init__(self, path: Path, *, hangs_in: str) -> None:
        self._path = path
        self._hangs_in = hangs_in
        self.go_on, self.closed = threading.Event(), threading.Event()
        self.asked: list[str] = []

    def open(self) -> Driver:
        self._pass("open")
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        return self

    def fileno(self) -> int:
        return self._descriptor

    def close(self) -> None:
        self._pass("close")
        os.close(self._descriptor)
        self.closed.set()

    def _pass(self, step: str) -> None:
        self.asked.append(step)
        if step == self._hangs_in:
            self.go_on.wait()


@pytest.mark.parametrize("step", ["open", "close"])
def test_a_driver_that_hangs_does_not_hold_up_the_end(
    tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serial_port, "CLOSE_MAX_S", 0.05)
    terminal = Terminal(tmp_path / "tty")
    driver = Driver(terminal.path, hangs_in=step)
    ended = threading.Event()

    async def run() -> None:
        line = Port({"port": str(terminal.path)}, driver.open, opened=lambda: None, received=lambda _: None)
        task = asyncio.create_task(line.run())
        await until(lambda: driver.asked and (step == "open" or line.state == "up"))
        task.cancel()
        await asyncio.wait([task])

    def live() -> None:
        asyncio.run(run())
        ended.set()

    process = threading.Thread(target=live)
    process.start()
    try:
        assert ended.wait(PATIENCE_S)
    finally:
        driver.go_on.set()
        process.join()
        if step == "close":
            assert driver.closed.wait(PATIENCE_S)
        terminal.unplug()


async def test_a_line_that_opens_when_nobody_waits_any_more_is_closed_again(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path / "tty")
    driver = Driver(terminal.path, hangs_in="open")
    line = Port({"port": str(terminal.path)}, driver.open, opened=lambda: None, received=lambda _: None)
    task = asyncio.create_task(line.run())
    await until(lambda: driver.asked)
    task.cancel()
    await asyncio.wait([task])
    driver.go_on.set()
    await until(driver.closed.is_set)
    terminal.unplug()


PIECES = st.lists(st.binary(max_size=30).map(lambda data: data.replace(b"\0", b"\n")), max_size=30)


@given(PIECES)
def test_lines_come_whole_however_they_are_cut(pieces: list[bytes]) -> None:
    splitter = LineSplitter(10_000)
    lines = [line for piece in pieces for line in splitter.feed(piece)]
    *whole, _ = b"".join(pieces).split(b"\n")
    assert lines == [line for line in (each.rstrip(b"\r") for each in whole) if line]
    assert splitter.overlong == 0


@given(PIECES)
def test_no_line_is_longer_than_the_limit_and_the_others_are_not_touched(pieces: list[bytes]) -> None:
    splitter = LineSplitter(8)
    lines = [line for piece in pieces for line in splitter.feed(piece)]
    *whole, rest = b"".join(pieces).split(b"\n")
    assert lines == [line for line in (each.rstrip(b"\r") for each in whole if len(each) <= 9) if line]
    assert splitter.overlong == sum(len(each) > 9 for each in [*whole, rest])


def test_a_new_beginning_has_nothing_of_the_old() -> None:
    splitter = LineSplitter(80)
    splitter.feed(b"$GPRMC,12")
    splitter.reset()
    assert splitter.feed(b"$GPGGA\r\n") == [b"$GPGGA"]
