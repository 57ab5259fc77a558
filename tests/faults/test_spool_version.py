# SPDX-License-Identifier: Apache-2.0
"""A spool in the format of a later or an earlier version: refused, set aside whole, told; never overwritten."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING
from zlib import crc32

import pytest
from structlog.testing import capture_logs

from agent.cli.preflight.result import CheckLevel
from agent.cli.preflight.unit import check_spool
from agent.config import BusConfig, Config, SpoolConfig, VehicleConfig
from agent.config.priorities import Priority
from agent.errors import SpoolError
from agent.model import GapKind, SealedBatch
from agent.pipeline.storage import Storage
from agent.spool.quarantine import SET_ASIDE_MAX
from agent.spool.state import COPY_BYTES
from agent.units import Size

if TYPE_CHECKING:
    from pathlib import Path

PAGE = 4096


def config(path: Path) -> Config:
    return Config(
        vehicle=VehicleConfig(id="car-1"),
        buses=(BusConfig(name="car", interface="simulator"),),
        spool=SpoolConfig(path=path, limit=Size.parse("4MiB"), segment=Size.parse("256KiB"), min_free=Size.parse("0B")),
    )


def filled(path: Path, batches: int = 4) -> None:
    storage = Storage.open(config(path))
    store = storage.stores[Priority.NORMAL]
    store.journal.recover(store.spool.unsealed_sequence)
    store.journal.start()
    for number in range(batches):
        store.spool.append(SealedBatch(b"payload %d" % number, catalog="c" * 32, begin_ns=1, end_ns=2, frames=1))
    store.append_entry(b"of the open batch")
    storage.catalogs.put("c" * 32, b"a catalog")
    storage.close(clean=False)


def of_version(path: Path, version: int, parts: tuple[str, ...] = ("state", "segment", "journal")) -> None:
    """As another version would have written it, as far as anybody can know: declared, and with sound checksums."""
    if "state" in parts:
        data = bytearray((path / "normal/state").read_bytes())
        for begin in range(0, len(data), COPY_BYTES):
            if data[begin : begin + 4] == b"CFST":
                struct.pack_into("<I", data, begin + 4, version)
                length = struct.unpack_from("<I", data, begin + 16)[0]
                document = data[begin + 24 : begin + 24 + length]
                struct.pack_into("<I", data, begin + 20, crc32(document, crc32(data[begin : begin + 20])))
        (path / "normal/state").write_bytes(data)
    if "segment" in parts:
        for file in (path / "normal").glob("*.segment"):
            data = bytearray(file.read_bytes())
            for page in range(0, len(data), PAGE):
                for begin in (page, page + PAGE - 128):
                    if data[begin : begin + 4] == b"CFRC":
                        struct.pack_into("<H", data, begin + 4, version)
                        struct.pack_into("<I", data, begin + 124, crc32(data[begin : begin + 124]))
            file.write_bytes(data)
    if "journal" in parts:
        data = bytearray((path / "journal").read_bytes())
        for begin in range(0, len(data), PAGE):
            if data[begin : begin + 3] == b"CFJ":
                struct.pack_into("<I", data, begin + 4, version)
                struct.pack_into("<I", data, begin + 48, crc32(data[begin : begin + 48]))
        (path / "journal").write_bytes(data)


def contents(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


@pytest.mark.parametrize("version", [0, 2, 7])
@pytest.mark.parametrize("parts", [("state", "segment", "journal"), ("state",), ("segment",)])
def test_a_spool_of_another_version_is_set_aside_whole(tmp_path: Path, version: int, parts: tuple[str, ...]) -> None:
    filled(tmp_path)
    of_version(tmp_path, version, parts)
    before = contents(tmp_path)
    with capture_logs() as logs:
        storage = Storage.open(config(tmp_path))
    spool = storage.stores[Priority.NORMAL].spool
    (line,) = [line for line in logs if line["log_level"] in ("error", "warning")]
    assert line["event"] == "spool_refused"
    assert f"in format {version}; accepted: 1" in line["reason"]
    assert contents(tmp_path / "set-aside-1") == before
    (gap,) = spool.pending_gaps()
    assert (gap.kind, gap.detail) == (
        GapKind.CORRUPT,
        "batches in the format of another version were set aside, in set-aside-1",
    )
    assert spool.append(SealedBatch(b"new", catalog="", begin_ns=1, end_ns=2, frames=1)) is not None
    storage.close(clean=True)
    with capture_logs() as logs:
        Storage.open(config(tmp_path)).close(clean=True)
    assert logs == []
    assert contents(tmp_path / "set-aside-1") == before


def test_a_journal_of_another_version_is_set_aside_and_the_spool_goes_on(tmp_path: Path) -> None:
    filled(tmp_path)
    of_version(tmp_path, 2, ("journal",))
    before = (tmp_path / "journal").read_bytes()
    storage = Storage.open(config(tmp_path))
    assert storage.stores[Priority.NORMAL].spool.status().records == 4
    assert (tmp_path / "set-aside-1/journal").read_bytes() == before
    storage.close(clean=True)


def test_what_was_set_aside_is_a_spool_of_its_version(tmp_path: Path) -> None:
    filled(tmp_path)
    of_version(tmp_path, 2)
    Storage.open(config(tmp_path)).close(clean=True)
    of_version(tmp_path / "set-aside-1", 1)
    storage = Storage.open(config(tmp_path / "set-aside-1"))
    assert [record.payload for record in storage.stores[Priority.NORMAL].spool.oldest(limit=9)] == [
        b"payload %d" % number for number in range(4)
    ]
    assert (tmp_path / f"set-aside-1/catalogs/{'c' * 32}.catalog.zst").read_bytes() == b"a catalog"
    storage.close(clean=False)


def test_a_power_cut_before_it_was_told_does_not_silence_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(tmp_path)
    of_version(tmp_path, 2)
    with monkeypatch.context() as patched:
        patched.setattr("agent.pipeline.storage.report_set_aside", _cut)
        with pytest.raises(KeyboardInterrupt):
            Storage.open(config(tmp_path))
    storage = Storage.open(config(tmp_path))
    assert [gap.kind for gap in storage.stores[Priority.NORMAL].spool.pending_gaps()] == [GapKind.CORRUPT]
    storage.close(clean=True)
    assert sorted(path.name for path in tmp_path.glob("set-aside*")) == ["set-aside-1"]


def _cut(*_: object) -> None:
    raise KeyboardInterrupt


def test_more_of_them_than_are_kept_are_refused_and_left_where_they_are(tmp_path: Path) -> None:
    for _ in range(SET_ASIDE_MAX):
        filled(tmp_path)
        of_version(tmp_path, 2)
        Storage.open(config(tmp_path)).close(clean=True)
    filled(tmp_path)
    of_version(tmp_path, 2)
    before = contents(tmp_path)
    with pytest.raises(SpoolError, match=f"{SET_ASIDE_MAX} such spools lie in .* already: send or remove set-aside"):
        Storage.open(config(tmp_path))
    assert contents(tmp_path) == before


@pytest.mark.parametrize("place", range(8))
def test_a_flipped_byte_in_what_is_declared_is_damage_and_no_other_version(tmp_path: Path, place: int) -> None:
    filled(tmp_path)
    files = [tmp_path / "normal/state", *(tmp_path / "normal").glob("*.segment"), tmp_path / "journal"]
    for file in files:
        data = bytearray(file.read_bytes())
        begin = next(at for at in range(0, len(data), PAGE) if data[at : at + 2] == b"CF")
        data[begin + place] ^= 2
        file.write_bytes(data)
    storage = Storage.open(config(tmp_path))
    assert storage.stores[Priority.NORMAL].spool.status().records == 4
    assert not list(tmp_path.glob("set-aside*"))
    storage.close(clean=False)


def test_check_tells_of_a_spool_of_another_version_before_it_is_set_aside(tmp_path: Path) -> None:
    filled(tmp_path)
    of_version(tmp_path, 2)
    before = contents(tmp_path)
    warnings = [finding.text for finding in check_spool(config(tmp_path)) if finding.level is CheckLevel.WARNING]
    assert [text.rpartition("; run ")[2] for text in warnings] == ["sets it aside unsent, for that version to send"]
    assert contents(tmp_path) == before
