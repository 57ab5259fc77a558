# SPDX-License-Identifier: Apache-2.0
"""Follow the live signals of an agent, and write them as fast as the reader takes them.

Promise: the latest values are shown. A terminal or a pipe that is slow makes the agent skip updates, and their number
is shown. Where the agent ends the connection (a reload, a restart), `tail` connects again for `RETRY_S`.

Failure: as of `client`, `signals`.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TextIO

from agent.live import table
from agent.live.client import NoAgentError, ask
from agent.live.plot import Plot, dots_for
from agent.live.signals import LiveSignals, Selection

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from agent.live.protocol import Answer

RETRY_S = 30.0
_PAUSE_S = 0.5


@dataclass(frozen=True, slots=True)
class TailOptions:
    """How: every so many seconds, 0 for what there is now and no more; as JSON lines; in place on a terminal: as a
    table, or as curves of `plot_s` seconds where that is not 0."""

    every_s: float = 0.25
    as_json: bool = False
    in_place: bool = False
    plot_s: float = 0.0

    def new_view(self, out: TextIO, selection: Selection) -> table.Table | Plot:
        """What is drawn in place, empty."""
        if not self.plot_s:
            return table.Table()
        return Plot(self.plot_s, dots_for(out.encoding or "ascii", os.environ.get("TERM", "")), selection.signal)


def tail(path: Path, selection: Selection, options: TailOptions, out: TextIO) -> None:
    """Until interrupted; once through where `every_s` is 0."""
    if options.in_place:
        out.write(table.HIDE_CURSOR + table.CLEAR)
    try:
        signals: LiveSignals | None = None
        view = options.new_view(out, selection)
        for answer in _answers(path, options.every_s):
            if answer.definitions is not None:
                signals, view = LiveSignals(answer.definitions, selection), options.new_view(out, selection)
            if answer.frames is not None and signals is not None:
                _write(signals, answer, view, options, out)
    finally:
        if options.in_place:
            out.write(table.SHOW_CURSOR)
            out.flush()


def _write(signals: LiveSignals, answer: Answer, view: table.Table | Plot, options: TailOptions, out: TextIO) -> None:
    frames = answer.frames
    assert frames is not None
    messages = signals.update(frames.rows)
    if options.in_place:
        columns, rows = shutil.get_terminal_size()
        out.write(view.draw(messages, frames.time_ns, frames.skipped, columns, rows))
    elif options.as_json:
        if frames.skipped:
            out.write(f'{{"t": {frames.time_ns / 1e9}, "skipped": {frames.skipped}}}\n')
        out.writelines(table.json_line(message) + "\n" for message in messages)
    else:
        if frames.skipped:
            print(f"canferry: {frames.skipped} updates skipped: this reader is slow", file=sys.stderr)
        out.writelines(line + "\n" for line in table.lines(messages))
    out.flush()


def _answers(path: Path, every_s: float) -> Iterator[Answer]:
    """Those of one connection after the other."""
    yield from ask(path, "frames", every_s=every_s)
    while every_s:
        print("canferry: the agent has ended the connection; waiting for it to be back", file=sys.stderr, flush=True)
        until_s = time.monotonic() + RETRY_S
        while True:
            try:
                for answer in ask(path, "frames", every_s=every_s):
                    yield answer
                    until_s = time.monotonic() + RETRY_S
                break
            except NoAgentError:
                if time.monotonic() > until_s:
                    raise
                time.sleep(_PAUSE_S)
