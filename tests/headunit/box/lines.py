# SPDX-License-Identifier: Apache-2.0
"""What the machine and the host say to each other over its serial lines: what is logged inside, and jobs.

Promise: a line is read as soon as it comes, in a thread that ends with the machine; whoever waits is woken.
Failure: what is not said in time is a `UnitError` with the last words, at once where the machine has ended.
"""

from __future__ import annotations

import itertools
import json
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agent.system.journald import OWN
from tests.headunit.box.car import receive

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator
    from pathlib import Path

PATIENCE_S = 300.0
"""For what takes a second on a quiet machine."""

Line = dict[str, Any]


class UnitError(Exception):
    """A script in the machine failed, or did not end, or the journal does not say what it should."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of what is logged.

    number  in the log
    text    as written
    line    what the agent said, {} where it is not the agent's
    """

    number: int
    text: str
    line: Line


class Log:
    """What has been logged since the boot, in order: the journal's entries, or the agent's own lines."""

    def __init__(self, host: socket.socket) -> None:
        self.entries: list[Entry] = []
        self._said = threading.Condition()
        self._alive = True
        threading.Thread(target=self._listen, args=(host,), daemon=True).start()

    def __len__(self) -> int:
        return len(self.entries)

    def events(self, *names: str, since: int = 0) -> list[Line]:
        """What the agent said of these, from entry `since` on."""
        return [entry.line for entry in self.entries[since:] if entry.line.get("event") in names]

    def said(self, event: str, *, since: int = 0, timeout_s: float = PATIENCE_S, **fields: object) -> Line:
        """Wait until the agent says this."""

        def match(entry: Entry) -> bool:
            return entry.line.get("event") == event and fields.items() <= entry.line.items()

        return self.entry(match, f"{event} {fields or ''}", since=since, timeout_s=timeout_s).line

    def told(self, words: str, *, since: int = 0, timeout_s: float = PATIENCE_S) -> Entry:
        """Wait until anyone says these words."""
        return self.entry(lambda entry: words in entry.text, words, since=since, timeout_s=timeout_s)

    def entry(self, match: Callable[[Entry], bool], what: str, *, since: int, timeout_s: float) -> Entry:
        """Wait for the first entry from `since` on that matches."""
        found: list[Entry] = []

        def look() -> bool:
            nonlocal since
            found.extend(entry for entry in self.entries[since:] if match(entry))
            since = len(self.entries)
            return bool(found)

        with self._said:
            self._said.wait_for(lambda: look() or not self._alive, timeout_s)
            if not found:
                last = "\n".join(entry.text for entry in self.entries[-30:])
                raise UnitError(
                    f"the journal does not say {what.strip()!r} within {timeout_s:g} s; its last words:\n{last}"
                )
        return found[0]

    def _listen(self, host: socket.socket) -> None:
        for said in _lines(host):
            with self._said:
                self.entries.append(_entry(len(self.entries), said))
                self._said.notify_all()
        with self._said:
            self._alive = False
            self._said.notify_all()


def _entry(number: int, said: bytes) -> Entry:
    """Of a line of `journalctl --output=json`, or of one as the agent wrote it."""
    fields = _json(said.decode(errors="replace"))
    if fields.get("SYSLOG_IDENTIFIER") == "canferry" and "CODE" in fields:
        return Entry(number, str(fields["MESSAGE"]), _event(fields))
    text = fields.get("MESSAGE", said) if "__REALTIME_TIMESTAMP" in fields else said
    text = text if isinstance(text, str) else bytes(text or b"").decode(errors="replace")
    return Entry(number, text, _json(text))


def _event(fields: Line) -> Line:
    """What the agent told the journal, as it would have written it."""
    line: Line = {"event": fields["CODE"]}
    for name, value in fields.items():
        if not name.startswith("_") and name not in OWN:
            try:
                line[name.lower()] = json.loads(value)
            except (TypeError, ValueError):
                line[name.lower()] = value
    return line


def _json(text: str) -> Line:
    try:
        line = json.loads(text)
    except ValueError:
        return {}
    return line if isinstance(line, dict) else {}


class Jobs:
    """Runs scripts in the machine."""

    def __init__(self, host: socket.socket, folder: Path) -> None:
        self._host = host
        self._folder = folder
        self._numbers = itertools.count(1)
        self._statuses: dict[int, int] = {}
        self._ended = threading.Condition()
        self._alive = True
        folder.mkdir()
        threading.Thread(target=self._listen, daemon=True).start()

    def ready(self) -> None:
        """The machine listens on return."""
        self.status(0, PATIENCE_S)

    def begin(self, script: str) -> int:
        """Start a script (sh); its number."""
        number = next(self._numbers)
        (self._folder / str(number)).write_text(script)
        self._host.sendall(f"{number}\n".encode())
        return number

    def status(self, number: int, timeout_s: float) -> int:
        """Wait for its exit status."""
        with self._ended:
            self._ended.wait_for(lambda: number in self._statuses or not self._alive, timeout_s)
            if number not in self._statuses:
                what = f"does not answer within {timeout_s:g} s" if self._alive else "has ended"
                raise UnitError(f"the machine {what}")
            return self._statuses[number]

    def output(self, number: int) -> str:
        """What it printed; to be asked when it has ended."""
        return (self._folder / f"{number}.out").read_text(errors="replace")

    def _listen(self) -> None:
        for said in _lines(self._host):
            number, _, status = said.partition(b" ")
            with self._ended:
                self._statuses[int(number)] = int(status)
                self._ended.notify_all()
        with self._ended:
            self._alive = False
            self._ended.notify_all()


def _lines(host: socket.socket) -> Iterator[bytes]:
    held = b""
    while received := receive(host):
        *lines, held = (held + received).split(b"\n")
        yield from lines
