# SPDX-License-Identifier: Apache-2.0
"""What the commands print on: text that every place takes, and an error that is one line.

Promise: what stdout refuses, a full disk's file above all, raises AgentError; a pipe that nobody reads any more,
BrokenPipeError. Each is raised once: what is still to be written then goes nowhere, so that nothing fails a second time
at the interpreter's end. Text from outside reaches a terminal through `agent.system.printable` alone: lines of plain
text as a whole, just before they are printed; what is aligned or coloured, piece by piece where it is put together.
"""

from __future__ import annotations

import io
import json
import sys
from typing import TYPE_CHECKING, TextIO

from agent.errors import AgentError
from agent.system.printable import printable_json, printable_line

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


def open_stdout() -> None:
    """Make `sys.stdout` so; where it was replaced, only its encoding is set."""
    out = sys.stdout
    set_encoding(out)
    if isinstance(out, io.TextIOWrapper) and out is sys.__stdout__:
        sys.stdout = io.TextIOWrapper(
            io.BufferedWriter(_Stdout(out.fileno(), "wb", closefd=False)),
            encoding=out.encoding,
            errors=out.errors,
            line_buffering=out.line_buffering or out.write_through,
        )


def set_encoding(out: TextIO) -> None:
    """Names and units are not ASCII, and no reason to fail: what a terminal cannot show is a question mark there; what
    goes elsewhere, JSON among it, is UTF-8 whatever the locale says."""
    if isinstance(out, io.TextIOWrapper):
        if out.isatty():
            out.reconfigure(errors="replace")
        else:
            out.reconfigure(encoding="utf-8")


def print_message(text: str) -> None:
    """One line on stderr, under the command's name."""
    print(f"canferry: {printable_line(text)}", file=sys.stderr, flush=True)


def json_text(document: object) -> str:
    """A document on one line, its texts as they are, and nothing in it that a terminal would obey."""
    return printable_json(json.dumps(document, ensure_ascii=False))


class _Stdout(io.FileIO):
    _refused = False

    def write(self, data: ReadableBuffer, /) -> int:
        if self._refused:
            return memoryview(data).nbytes
        try:
            return super().write(data)
        except BrokenPipeError:
            self._refused = True
            raise
        except OSError as error:
            self._refused = True
            raise AgentError(f"stdout: {error.strerror}") from None
