# SPDX-License-Identifier: Apache-2.0
"""What was spent of the data plan, kept over restarts and power cuts: one small file.

    5f2c81d0 {"spent": {"at_ns": …, "month": 20758, …}, "counter": 123456, "boot_id": "…"}
    └─ CRC-32 of what follows the blank, in hexadecimal

Promise: `write` leaves the old content or the new, whenever the power goes. `read` gives what was written last, or says
that it is damaged. Failure: OSError of the disk; `LedgerError` for content that is not sound.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import msgspec

from agent.system.durable import write_durably
from agent.uplink.cellular.budget import Spent  # noqa: TC001  (msgspec reads the annotations)

if TYPE_CHECKING:
    from pathlib import Path

_BYTES_MAX = 4096


class LedgerError(ValueError):
    """The file's content is not sound."""


class Entry(msgspec.Struct, frozen=True):
    """What is kept.

    counter   the interface's, received and sent, when it was read last; -1: never
    boot_id   the boot that it counts from
    """

    spent: Spent
    counter: int = -1
    boot_id: str = ""


def read(path: Path) -> Entry | None:
    """What was written last; None where nothing was. Raises LedgerError, OSError."""
    try:
        with path.open("rb") as file:
            content = file.read(_BYTES_MAX)
    except FileNotFoundError:
        return None
    checksum, _, body = content.rstrip(b"\n").partition(b" ")
    if checksum != _checksum(body):
        raise LedgerError("its checksum does not hold")
    try:
        return msgspec.json.decode(body, type=Entry)
    except msgspec.DecodeError as error:
        raise LedgerError(str(error)) from error


def write(path: Path, entry: Entry) -> None:
    """Put it in the place of what was there, for good."""
    body = msgspec.json.encode(entry)
    write_durably(path, _checksum(body) + b" " + body + b"\n")


def _checksum(body: bytes) -> bytes:
    return b"%08x" % zlib.crc32(body)
