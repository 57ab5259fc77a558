# SPDX-License-Identifier: Apache-2.0
"""Whether a spool is the one that this unit left: without a proof its stream is left, and another one begins.

A stream's number names one batch for ever, but a spool can be copied: restored from a backup, flashed with an image to
one car or to many. Such a copy knows of fewer numbers than were given out, would give them out again, and the receiver
would take other batches for duplicates. Nothing inside the spool can tell, for all of it was copied. So the proof lies
outside, where no copy of a disk reaches and no boot: in memory.

    FOLDER/canferry-normal-0123456789abcdef    one line: boot id, stream, how many numbers were given out in it

It is written after a batch is durable and before anybody is offered it. The stream goes on where the line is of this
boot and of this stream, and tells of no more numbers than the spool knows: then none was given out that it does not
know. All else is no proof: after each boot, in a spool that was put back while the agent was stopped, in a cloned one,
and where there is no such folder, another stream begins. That costs a name, and a record that tells the receiver how
many batches the stream that was left has. What waits in that one is sent under its own name and numbers: of a copy's
the receiver has some already, and drops them.

Kept: kill -9 and restart, stop and start, a reload within a boot go on in one stream. A power cut begins another.

Not found out: a snapshot of a running machine, memory and all; files that are put back beneath a running agent.
The receiver compares what bears one number, as a second guard.

Limits: one short line a spool. `FOLDER` is the service's own ($RUNTIME_DIRECTORY, which outlasts the service until the
next boot by `RuntimeDirectoryPreserve=`), else the user's ($XDG_RUNTIME_DIR), else /dev/shm.
Failure: what cannot be written is no proof at the next start, and is logged once.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

import structlog

log = structlog.get_logger()

_LINE_BYTES = 128
_SHARED = "/dev/shm"  # noqa: S108  (what lies there is opened with care)
_HINT = "the next start begins another stream: look at the room of the folder"


@dataclass(frozen=True, slots=True)
class Left:
    """What is known of a stream: its name, and how many numbers were given out in it."""

    stream: str
    numbers: int


class Continuity:
    """One spool's line in memory; `left`: what it says, None where there is none of this boot."""

    def __init__(self, path: Path | None, boot_id: str) -> None:
        self._path = path
        self._boot_id = boot_id
        self._file = -1 if path is None or not boot_id else self._opened(path)
        self.left = self._read()

    @classmethod
    def of(cls, spool: Path, boot_id: str) -> Continuity:
        """Of the spool in this folder; without a boot id, or a place in memory, nothing is ever proven."""
        folder = memory_folder()
        name = hashlib.sha256(bytes(spool.absolute())).hexdigest()[:16]
        return cls(None if folder is None else folder / f"canferry-{spool.name}-{name}", boot_id)

    def proves(self, stream: str, numbers: int) -> bool:
        """Whether no number was given out in the stream beyond those that the spool knows."""
        return self.left is not None and self.left.stream == stream and self.left.numbers <= numbers

    def record(self, stream: str, numbers: int) -> None:
        """So many numbers have been given out in the stream."""
        if self._file < 0:
            return
        line = f"{self._boot_id} {stream} {numbers} ".ljust(_LINE_BYTES - 1).encode() + b"\n"
        try:
            while line:  # a part is written only where the folder is full
                line = line[os.pwrite(self._file, line, _LINE_BYTES - len(line)) :]
        except OSError as error:
            log.warning("continuity_not_kept", path=str(self._path), reason=error.strerror, hint=_HINT)
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, 0)  # an old line would be a false proof
            self.close()

    def close(self) -> None:
        """Let go of the file, which stays."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _opened(self, path: Path) -> int:
        """The file, if it is a plain one of our own: others may write to the folder."""
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            file = os.open(path, flags, 0o600)
        except OSError as error:
            log.warning("continuity_not_kept", path=str(path), reason=error.strerror, hint=_HINT)
            return -1
        found = os.fstat(file)
        if stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid():
            return file
        os.close(file)
        log.warning("continuity_not_kept", path=str(path), reason="it is somebody else's", hint=_HINT)
        return -1

    def _read(self) -> Left | None:
        if self._file < 0:
            return None
        try:
            words = os.pread(self._file, _LINE_BYTES, 0).decode("ascii").split()
            boot_id, stream, numbers = words
            return Left(stream, int(numbers)) if boot_id == self._boot_id else None
        except (OSError, ValueError):
            return None


def memory_folder() -> Path | None:
    """Where a file lives until the next boot at most."""
    told = os.environ.get("RUNTIME_DIRECTORY", "").split(":")[0], os.environ.get("XDG_RUNTIME_DIR", ""), _SHARED
    return next((Path(each) for each in told if each and os.access(each, os.W_OK | os.X_OK)), None)
