# SPDX-License-Identifier: Apache-2.0
"""How the folder is laid out that batches are received into: names of vehicles, streams and files.

    OUT/<vehicle>/<stream>/<sequence, 12 digits>.batch.zst
    OUT/<vehicle>/<stream>/<sequence>-<hash>.batch.zst     another content that came under the same id
    OUT/<vehicle>/catalogs/<hash>.catalog.zst    OUT/catalogs/… where the topic does not tell the vehicle
    OUT/rejected/<number>.payload

Promise: names that came over the wire become safe file names, another one for every other name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from agent.errors import BatchError
from agent.receiver.catalogs import FOLDER
from agent.receiver.inventory import BATCH_SUFFIX

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

REJECTED = "rejected"
NAME_MAX = 200
SEQUENCE_MAX = 10**12 - 1
OTHER_BYTES = 8
"""Of a hash, in the name of another content's file."""


def safe_name(name: str) -> str:
    """A file name for a vehicle or a stream, another one for every other name; `unquote` is its inverse."""
    safe = quote(name, safe=":")
    if safe.startswith(".") or safe in (FOLDER, REJECTED):
        safe = f"%{ord(safe[0]):02X}{safe[1:]}"
    if not 0 < len(safe) <= NAME_MAX:
        raise BatchError(f"a name of {len(safe)} characters; 1 to {NAME_MAX} are accepted")
    return safe


def batch_path(folder: Path, sequence: int, other: bytes = b"") -> Path:
    """Where a batch of a stream's folder goes; `other`: the hash of another content than the first."""
    return folder / f"{sequence:012d}{f'-{other[:OTHER_BYTES].hex()}' if other else ''}{BATCH_SUFFIX}"


def sequence_of(path: Path) -> int | None:
    """Of a file that lies where `batch_path` says, other contents included."""
    digits, _, _ = path.name.removesuffix(BATCH_SUFFIX).partition("-")
    return int(digits) if digits.isascii() and digits.isdecimal() else None


def folders(folder: Path) -> Iterator[Path]:
    """The folders of vehicles, or of one vehicle's streams."""
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.name.startswith(".") and path.name not in (FOLDER, REJECTED):
            yield path
