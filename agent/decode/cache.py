# SPDX-License-Identifier: Apache-2.0
"""Definitions kept on disk, so that a restart does not load its DBC files anew.

One file a load, named by the SHA-256 of all that the result depends on: the content, path, bus and J1939 setting of
each DBC file, in order, and the versions of canferry and cantools. It holds

    32 bytes   SHA-256 of the rest
    rest       `LoadedDatabases` as MessagePack

put in place whole. A file that is missing, damaged or cannot be written costs a load, nothing else. At most
`FILES_MAX` are kept, drafts that a power cut left behind among them; the least recently written are deleted.
"""

from __future__ import annotations

import hashlib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import structlog

from agent import __version__
from agent.decode.report import LoadedDatabases
from agent.durable import write_durably

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agent.decode.loading import J1939

log = structlog.get_logger()

FILES_MAX = 4
SUFFIX = ".definitions"
_CHECKSUM_BYTES = 32
_DAMAGED = "the DBC files are loaded anew: look at the disk if it comes again"
_NOT_KEPT = "the next start takes longer: look at room and rights of spool.path"


def cache_file(folder: Path, files: Sequence[tuple[str, str]], settings: Mapping[str, J1939]) -> Path | None:
    """Where the definitions of these files are kept, None where a file cannot be read."""
    digest = hashlib.sha256(f"{__version__} {_cantools_version()}".encode())
    for bus, path in files:
        try:
            content = Path(path).read_bytes()
        except OSError:
            return None
        digest.update(repr((bus, path, settings[bus], hashlib.sha256(content).hexdigest())).encode())
    return folder / f"{digest.hexdigest()}{SUFFIX}"


def read_kept(path: Path) -> LoadedDatabases | None:
    """The definitions kept in a file, None where there are none."""
    try:
        stored = path.read_bytes()
    except OSError:
        return None
    checksum, payload = stored[:_CHECKSUM_BYTES], stored[_CHECKSUM_BYTES:]
    if hashlib.sha256(payload).digest() != checksum:
        log.warning("definitions_damaged", path=str(path), reason="bad checksum", hint=_DAMAGED)
        return None
    try:
        return unpack(payload)
    except msgspec.MsgspecError:  # of another build under the same version
        return None


def keep(path: Path, loaded: LoadedDatabases) -> None:
    """Keep definitions, and delete the oldest where there are too many."""
    try:
        payload = pack(loaded)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(path, hashlib.sha256(payload).digest() + payload)
        _delete_oldest(path.parent)
    except (OSError, OverflowError) as error:  # OverflowError: a scale past 64 bits has no MessagePack form
        log.warning("definitions_not_kept", path=str(path), reason=str(error), hint=_NOT_KEPT)


def pack(loaded: LoadedDatabases) -> bytes:
    """Definitions as MessagePack. Raises OverflowError for whole numbers past 64 bits."""
    return msgspec.msgpack.encode(loaded)


def unpack(payload: bytes) -> LoadedDatabases:
    """The definitions that `pack` wrote. Raises msgspec.MsgspecError for anything else."""
    return msgspec.msgpack.decode(payload, type=LoadedDatabases)


def _delete_oldest(folder: Path) -> None:
    kept = sorted(folder.glob(f"*{SUFFIX}*"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    for path in kept[FILES_MAX:]:
        path.unlink(missing_ok=True)


def _cantools_version() -> str:
    try:
        return version("cantools")
    except PackageNotFoundError:
        return ""
