# SPDX-License-Identifier: Apache-2.0
"""What lies under `spool.path`."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import msgspec
import pytest

from agent.config import BusConfig, CollectConfig, Config, SpoolConfig, VehicleConfig
from agent.spool.disk import PAGE
from agent.storage import Storage, batch_bytes_max, bytes_at_once
from agent.units import Size

if TYPE_CHECKING:
    from pathlib import Path

PLENTY = 1 << 40


def config(path: Path, *, min_free: str = "0B", classes: tuple[str, ...] = ("normal",)) -> Config:
    return Config(
        vehicle=VehicleConfig(id="car-1"),
        buses=(BusConfig(name="car", interface="simulator"),),
        collect=tuple(CollectConfig(priority=name) for name in classes),  # type: ignore[arg-type]
        spool=SpoolConfig(
            path=path, limit=Size.parse("16MiB"), segment=Size.parse("1MiB"), min_free=Size.parse(min_free)
        ),
    )


def started(config: Config) -> int:
    """Bytes in the files of a spool that has begun and ended."""
    storage = Storage.open(config)
    for vault in storage.vaults.values():
        vault.journal.start()
    storage.close(clean=True)
    return sum(file.stat().st_size for file in config.spool.path.rglob("*") if file.is_file())


@pytest.mark.parametrize("min_free", ["0B", "1024GiB"])
@pytest.mark.parametrize("classes", [("normal",), ("critical", "bulk")])
def test_what_it_takes_at_once_is_known_before(tmp_path: Path, min_free: str, classes: tuple[str, ...]) -> None:
    asked = config(tmp_path, min_free=min_free, classes=classes)
    expected = bytes_at_once(asked, PLENTY)
    assert started(asked) == expected
    assert bytes_at_once(asked, 0) == 0, "what is there is not needed again"


def test_a_class_that_is_used_no_more_is_opened_and_needs_its_room(tmp_path: Path) -> None:
    before = bytes_at_once(config(tmp_path), PLENTY)
    (tmp_path / "bulk").mkdir()
    assert bytes_at_once(config(tmp_path), PLENTY) == 2 * before


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
    with contextlib.closing(storage.vaults["normal"].spool) as spool:
        taken = [
            spool.append(bytes(size), catalog="c", begin_ns=0, end_ns=1, frames=1) is not None
            for size in (most, most + PAGE)
        ]
    assert taken == [True, False]
