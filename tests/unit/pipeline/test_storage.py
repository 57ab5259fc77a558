# SPDX-License-Identifier: Apache-2.0
"""Spools, journals and catalogs of a unit under one limit."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import msgspec
import pytest

from agent.batch.catalog import Catalog, decode_catalog, encode_catalog
from agent.config import BusConfig, CollectConfig, Config, SpoolConfig, VehicleConfig, load_config
from agent.config.priorities import Priority
from agent.model import SealedBatch
from agent.pipeline.storage import Storage, batch_bytes_max, bytes_at_once
from agent.spool.disk import PAGE
from agent.spool.journal import JOURNAL_BYTES
from agent.spool.state import STATE_BYTES
from agent.units import Size

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONFIG = """
[vehicle]
id = "car-1"
[[bus]]
name = "can0"
interface = "simulator"
[mqtt]
broker = "mqtt://localhost"
[spool]
path = "spool"
limit = "{limit}MiB"
segment = "256KiB"
min_free = "0B"
"""
RULES = "".join(f'[[collect]]\npriority = "{name}"\n' for name in ("critical", "normal", "bulk"))
PLENTY = 1 << 40


@contextlib.contextmanager
def opened(folder: Path, limit_mib: int, rules: str = "") -> Iterator[Storage]:
    """What a process of this configuration has open, its journals begun."""
    file = folder / "agent.toml"
    file.write_text(CONFIG.format(limit=limit_mib) + rules)
    storage = Storage.open(load_config(file))
    for store in storage.stores.values():
        store.journal.recover(store.spool.unsealed_sequence)
        store.journal.recycle()
        store.journal.start()
    yield storage
    storage.close(clean=True)


def fill(storage: Storage, batches: int) -> None:
    """The least urgent class first: what is more urgent gets its room."""
    for store in reversed(storage.stores.values()):
        for number in range(batches):
            payload = os.urandom(40_000)
            store.append_entry(payload)
            record = store.spool.append(SealedBatch(payload, catalog="", begin_ns=1, end_ns=2, frames=1))
            store.journal.recycle()
            if record and number % 10 == 0:
                store.spool.set_aside(record.sequence, "refused")


def disk_bytes(folder: Path) -> int:
    """All that is in files, as it takes room on the disk."""
    return sum(path.stat().st_blocks * 512 for path in (folder / "spool").rglob("*") if path.is_file())


@pytest.mark.parametrize(("limit_mib", "rules"), [(1, ""), (4, RULES), (16, RULES)])
def test_all_files_of_all_priorities_stay_within_the_limit(tmp_path: Path, limit_mib: int, rules: str) -> None:
    with opened(tmp_path, limit_mib, rules) as storage:
        fill(storage, 25 * limit_mib)
        assert limit_mib << 19 < disk_bytes(tmp_path) <= limit_mib << 20
        assert storage.records > 5 * limit_mib


def test_a_smaller_limit_holds_with_priorities_that_are_used_no_more(tmp_path: Path) -> None:
    with opened(tmp_path, 64, RULES) as storage:
        fill(storage, 100)
        assert (tmp_path / "spool/journal-bulk").stat().st_size > 2 << 20
        assert (tmp_path / "spool/journal-bulk").stat().st_size <= JOURNAL_BYTES
    with opened(tmp_path, 4) as storage:
        assert list(storage.stores) == [Priority.CRITICAL, Priority.NORMAL, Priority.BULK]
        assert disk_bytes(tmp_path) <= 4 << 20
        fill(storage, 50)
        assert disk_bytes(tmp_path) <= 4 << 20


def test_a_flipped_bit_in_a_catalog_is_found(tmp_path: Path) -> None:
    catalog = Catalog(("can0",), ())
    with opened(tmp_path, 4) as storage:
        for each in (catalog, Catalog(("other",), ())):
            storage.catalogs.put(each.hash, encode_catalog(each))
        assert storage.catalogs.get(catalog.hash) == encode_catalog(catalog)
        file = tmp_path / f"spool/catalogs/{catalog.hash}.catalog.zst"
        content = bytearray(file.read_bytes())
        for place in range(len(content)):
            content[place] ^= 1
            file.write_bytes(content)
            found = storage.catalogs.get(catalog.hash)
            assert found is None or decode_catalog(found) == catalog  # some bits of zstd's header mean nothing
            content[place] ^= 1


def config(path: Path, *, min_free: str = "0B", priorities: tuple[Priority, ...] = (Priority.NORMAL,)) -> Config:
    return Config(
        vehicle=VehicleConfig(id="car-1"),
        buses=(BusConfig(name="car", interface="simulator"),),
        collect=tuple(CollectConfig(priority=each) for each in priorities),
        spool=SpoolConfig(
            path=path, limit=Size.parse("16MiB"), segment=Size.parse("1MiB"), min_free=Size.parse(min_free)
        ),
    )


def started(config: Config) -> int:
    """Bytes in the files of a spool that has begun and ended."""
    storage = Storage.open(config)
    for store in storage.stores.values():
        store.journal.start()
    storage.close(clean=True)
    return sum(file.stat().st_size for file in config.spool.path.rglob("*") if file.is_file())


@pytest.mark.parametrize("min_free", ["0B", "1024GiB"])
@pytest.mark.parametrize("priorities", [(Priority.NORMAL,), (Priority.CRITICAL, Priority.BULK)])
def test_what_it_takes_at_once_is_known_before(tmp_path: Path, min_free: str, priorities: tuple[Priority, ...]) -> None:
    asked = config(tmp_path, min_free=min_free, priorities=priorities)
    expected = bytes_at_once(asked, PLENTY)
    assert started(asked) == expected
    assert bytes_at_once(asked, 0) == 0, "what is there is not needed again"


def test_a_priority_that_is_used_no_more_is_opened_and_needs_its_bytes(tmp_path: Path) -> None:
    before = bytes_at_once(config(tmp_path), 0)
    (tmp_path / "bulk").mkdir()
    assert bytes_at_once(config(tmp_path), 0) == before + STATE_BYTES, "the journals share what they take"


def test_no_segment_is_reserved_of_what_is_kept_free(tmp_path: Path) -> None:
    free = 6 << 20
    asked = [bytes_at_once(config(tmp_path, min_free=size), free) for size in ("0B", "5MiB")]
    assert asked[0] - asked[1] == 1 << 20


@pytest.mark.parametrize("limit", ["1MiB", "1536KiB", "16MiB"])
def test_the_largest_batch_that_is_taken_is_known_before(tmp_path: Path, limit: str) -> None:
    asked = msgspec.structs.replace(
        config(tmp_path), collect=(), spool=SpoolConfig(path=tmp_path, limit=Size.parse(limit))
    )
    most = batch_bytes_max(asked)
    storage = Storage.open(asked)
    with contextlib.closing(storage.stores[Priority.NORMAL].spool) as spool:
        taken = [
            spool.append(SealedBatch(bytes(size), catalog="c", begin_ns=0, end_ns=1, frames=1)) is not None
            for size in (most, most + PAGE)
        ]
    assert taken == [True, False]
