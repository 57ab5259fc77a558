# SPDX-License-Identifier: Apache-2.0
"""What stdout takes, and what becomes of an error of it."""

from __future__ import annotations

import io
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from agent.cli.stdout import open_stdout, set_encoding
from agent.errors import AgentError

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.mark.parametrize(("terminal", "said"), [(True, b"? 21 ?C"), (False, "→ 21 °C".encode())])
def test_what_a_locale_cannot_say_is_no_failure(terminal: bool, said: bytes) -> None:
    class Out(io.TextIOWrapper):
        def isatty(self) -> bool:
            return terminal

    written = io.BytesIO()
    out = Out(written, encoding="ascii")
    set_encoding(out)
    out.write("→ 21 °C")
    out.flush()
    assert written.getvalue() == said


@contextmanager
def opened(descriptor: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As a process finds it at its start, then as the commands have it."""
    with open(descriptor, "w", encoding="ascii") as out:
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "__stdout__", out)
        open_stdout()
        yield


@pytest.mark.parametrize("text", ["°", "°" * (1 << 20)])
def test_a_full_disk_is_an_error_on_purpose_and_told_once(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    with opened(os.open("/dev/full", os.O_WRONLY), monkeypatch):
        with pytest.raises(AgentError, match=r"^stdout: No space left on device$"):
            print(text, flush=True)
        print(text, flush=True)
        sys.stdout.buffer.write(text.encode())
        sys.stdout.flush()


def test_a_pipe_that_nobody_reads_breaks_once(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with opened(writer, monkeypatch):
        with pytest.raises(BrokenPipeError):
            print("no one", flush=True)
        print("no one", flush=True)
