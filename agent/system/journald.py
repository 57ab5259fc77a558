# SPDX-License-Identifier: Apache-2.0
"""Lines for the system's journal, with their fields: `journalctl -u canferry BUS=can0`, `journalctl CODE=link_lost`.

The native protocol of systemd-journald (https://systemd.io/JOURNAL_NATIVE_PROTOCOL): one datagram an entry, of fields

    NAME=value\\n                                     where the value has no line break
    NAME\\n, its length (64 bit, little-endian), value\\n      of any value

MESSAGE is the line as a person reads it, PRIORITY syslog's number of its level, CODE its event, SYSLOG_IDENTIFIER
``canferry``; every other field goes by its name in capitals. What is no text is written as JSON.

Promise: `send` never blocks. What the journal has no room for is counted, and told as ``lines_dropped`` by the next
entry that finds room.
Limits: `ENTRY_BYTES_MAX` an entry, `VALUE_BYTES_MAX` a value: what is longer is cut, what has no room is left out; so
that no entry needs a file of its own.
Failure: where there is no journal, `send` says so, and the line is the caller's to write elsewhere.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SOCKET = Path("/run/systemd/journal/socket")
IDENTIFIER = "canferry"
ENTRY_BYTES_MAX = 128 << 10
"""Less than the least that a datagram may have by default, net.core.wmem_default: 212,992 bytes."""
VALUE_BYTES_MAX = 32 << 10
NAME_LENGTH_MAX = 64
OWN = frozenset({"MESSAGE", "PRIORITY", "CODE", "SYSLOG_IDENTIFIER"})
PRIORITIES = {"critical": 2, "error": 3, "warning": 4, "info": 6, "debug": 7}
"""Of syslog(3)."""
_SPACED = re.compile(r'[\s"]')
_LEFT_TO_THE_JOURNAL = ("timestamp", "level", "event")


def is_connected(fileno: int, environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this file is a stream into the journal, as ``JOURNAL_STREAM`` says (systemd.exec(5))."""
    with contextlib.suppress(OSError):
        status = os.fstat(fileno)
        return environment.get("JOURNAL_STREAM", "") == f"{status.st_dev}:{status.st_ino}"
    return False


class Journal:
    """The journal's socket; threads may share it. `dropped`: entries that it had no room for, and was not told yet."""

    def __init__(self, path: Path = SOCKET) -> None:
        self.dropped = 0
        self._path = str(path)
        self._lock = threading.Lock()

    def send(self, line: Mapping[str, Any]) -> bool:
        """One event with level, event and fields; False where there is no journal to take it."""
        with self._lock, contextlib.suppress(OSError):
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.setblocking(False)
                sock.connect(self._path)
                if self.dropped and _put(sock, _dropped(self.dropped)):
                    self.dropped = 0
                self.dropped += not _put(sock, entry(line))
            return True
        return False


def _put(sock: socket.socket, content: bytes) -> bool:
    """Whether there was room; OSError where there is no journal."""
    try:
        sock.send(content)
    except BlockingIOError:
        return False
    return True


def entry(line: Mapping[str, Any]) -> bytes:
    """The datagram of an event."""
    own: dict[str, Any] = {
        "MESSAGE": message(line),
        "PRIORITY": PRIORITIES.get(str(line.get("level")), PRIORITIES["info"]),
        "CODE": line["event"],
        "SYSLOG_IDENTIFIER": IDENTIFIER,
    }
    others = {name_of(name): value for name, value in line.items() if name not in _LEFT_TO_THE_JOURNAL}
    content = bytearray()
    for name, value in (own | others).items():
        field = _field(name, _text(value).encode("utf-8", "replace")[:VALUE_BYTES_MAX])
        if len(content) + len(field) <= ENTRY_BYTES_MAX:
            content += field
    return bytes(content)


def message(line: Mapping[str, Any]) -> str:
    """An event as a person reads it: its name, what it is about, and at the end what to do."""
    return " ".join(_words(line))


def _words(line: Mapping[str, Any]) -> Iterator[str]:
    yield str(line["event"])
    for name, value in line.items():
        if name not in (*_LEFT_TO_THE_JOURNAL, "hint", "exception"):
            text = _text(value)
            yield f"{name}={json.dumps(text, ensure_ascii=False) if _SPACED.search(text) or not text else text}"
    if line.get("hint"):
        yield f"→ {line['hint']}"
    if line.get("exception"):
        yield f"\n{line['exception']}"


def name_of(field: str) -> str:
    """A field's name as the journal takes it: A to Z, digits and underscores, and not one that says something else."""
    name = re.sub(r"[^A-Z0-9_]", "_", field.upper()).lstrip("_")
    if not name or name[0].isdecimal() or name in OWN:
        name = f"FIELD_{name}"
    return name[:NAME_LENGTH_MAX]


def _field(name: str, value: bytes) -> bytes:
    if b"\n" in value:
        return name.encode() + b"\n" + len(value).to_bytes(8, "little") + value + b"\n"
    return name.encode() + b"=" + value + b"\n"


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _dropped(count: int) -> bytes:
    hint = "the journal is slow: look at the disk"
    return entry({"level": "warning", "event": "lines_dropped", "count": count, "hint": hint})
