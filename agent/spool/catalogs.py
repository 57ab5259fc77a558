# SPDX-License-Identifier: Apache-2.0
"""The catalogs that batches name, and which of them are known to have been published where.

    DIRECTORY/<hash>.catalog.zst   the bytes, written once
    DIRECTORY/sent.json            {"host:port/topic": {"<hash>": UNIX time of the acknowledgement}}

Promise: a catalog stays until neither the configuration nor a stored batch names it; what is marked as sent was
acknowledged. A damaged one is as good as none; the current one is written anew. A mark that is lost or unreadable
costs sending a catalog twice, never a batch that nobody can read.

Limits: a mark is good for `MARK_DAYS`, because a broker may forget what it kept; marks of 8 topics are kept.
Synchronous: for the one thread that owns the disk.

Failure: SpoolError with the path, where the disk refuses a catalog; a mark that it refuses is a warning.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from typing import TYPE_CHECKING

import structlog

from agent.spool.disk import naming
from agent.system.durable import write_durably

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

SUFFIX = ".catalog.zst"
MARK_DAYS = 7
_PLACES_MAX = 8
KNOWN_BYTES_MAX = 1 << 20
"""Of the catalogs that are here at the start: kept in memory, so that a folder that is deleted can be made anew."""
_LOST = "catalogs are sent again"
_NOT_KEPT = "after the next start catalogs are sent again: look at room and rights of spool.path"
_NAME = re.compile(r"[0-9A-Za-z_-]{1,128}")

log = structlog.get_logger()


class CatalogStore:
    """One directory of catalogs. `current` is the configuration's own, "" until `put`.

    is_valid   whether these bytes are the catalog of this name
    """

    def __init__(
        self,
        directory: Path,
        *,
        is_valid: Callable[[bytes, str], bool] = lambda content, name: True,  # noqa: ARG005
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._directory = directory
        self._is_valid = is_valid
        self._clock = clock
        self.current = ""
        with naming("open the catalogs", directory):
            directory.mkdir(parents=True, exist_ok=True)
        self._marks = self._read_marks()
        self._known = self._read_known()

    def put(self, name: str, content: bytes) -> None:
        """Keep this catalog, durable on return, and make it the current one."""
        path = self._path(name)
        with naming("keep a catalog", path):
            if not path.exists() or path.read_bytes() != content:
                write_durably(path, content)
        self.current, self._known[name] = name, content

    def keep_in_place(self) -> None:
        """Write anew what somebody has deleted beneath the agent."""
        for name, content in self._known.items():
            path = self._path(name)
            if not path.exists():
                with naming("keep a catalog", path):
                    self._directory.mkdir(parents=True, exist_ok=True)
                    write_durably(path, content)

    def get(self, name: str) -> bytes | None:
        """Its bytes; None where it is not here, or not sound."""
        with contextlib.suppress(OSError, ValueError):
            content = self._path(name).read_bytes()
            if self._is_valid(content, name):
                return content
        if not name or name != self.current:
            return None
        log.warning(
            "catalog_rewritten", catalog=name, hint="it was damaged on disk: if it comes again, look at the disk"
        )
        content = self._known[name]
        self.put(name, content)
        return content

    def is_sent(self, place: str, name: str) -> bool:
        """Has it been acknowledged there, not too long ago? `place`: the broker and the topic."""
        marked_at = self._marks.get(place, {}).get(name)
        return marked_at is not None and self._clock() - marked_at < MARK_DAYS * 86_400

    def mark_sent(self, place: str, name: str) -> None:
        """It has been acknowledged there just now; durable on return, if the disk has room for it."""
        marks = self._marks.pop(place, {})
        marks[name] = self._clock()
        self._marks[place] = marks
        while len(self._marks) > _PLACES_MAX:
            del self._marks[next(iter(self._marks))]
        self._write_marks()

    def prune(self, named: Iterable[str]) -> None:
        """Delete what is neither current nor in `named`."""
        keep = {*named, self.current}
        for path in sorted(self._directory.glob(f"*{SUFFIX}")):
            name = path.name.removesuffix(SUFFIX)
            if name not in keep:
                self._known.pop(name, None)
                with naming("delete a catalog", path):
                    path.unlink(missing_ok=True)
        stale = [(place, name) for place, marks in self._marks.items() for name in marks if name not in keep]
        for place, name in stale:
            del self._marks[place][name]
        if stale:
            self._write_marks()

    def _path(self, name: str) -> Path:
        if not _NAME.fullmatch(name):
            raise ValueError(f"catalog name {name!r}")
        return self._directory / f"{name}{SUFFIX}"

    def _read_known(self) -> dict[str, bytes]:
        """What is here, as far as it is small; should it be deleted, batches that wait would have lost their names."""
        known, left = {}, KNOWN_BYTES_MAX
        for path in sorted(self._directory.glob(f"*{SUFFIX}")):
            name = path.name.removesuffix(SUFFIX)
            with contextlib.suppress(OSError):
                if not _NAME.fullmatch(name) or path.stat().st_size > left:
                    continue
                content = path.read_bytes()
                if content and self._is_valid(content, name):
                    known[name] = content
                    left -= len(content)
        return known

    def _read_marks(self) -> dict[str, dict[str, float]]:
        path = self._directory / "sent.json"
        try:
            found = json.loads(path.read_bytes())
            return {str(place): {str(name): float(at) for name, at in marks.items()} for place, marks in found.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, AttributeError, TypeError) as error:
            log.warning("catalog_marks_lost", path=str(path), reason=str(error), hint=_LOST)
            return {}

    def _write_marks(self) -> None:
        path = self._directory / "sent.json"
        try:
            write_durably(path, json.dumps(self._marks).encode())
        except OSError as error:
            log.warning("catalog_marks_not_kept", path=str(path), reason=error.strerror, hint=_NOT_KEPT)
