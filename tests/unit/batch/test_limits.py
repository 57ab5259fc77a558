# SPDX-License-Identifier: Apache-2.0
"""Few bytes that claim a lot are counted before anything is made of them."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent.batch.catalog import Catalog, decode_catalog, encode_catalog
from agent.batch.screening import fields
from agent.errors import BatchError, DatabaseError
from agent.model import MessageDefinition, SignalDefinition
from tests.unit.batch.hostile import BATCHES, CATALOGS, packed

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[3]
TAKEN = {
    "batch as many events as can be",
    "batch rows of nothing",
    "batch lines",
    "batch pools",
    "batch sparse changes",
    "batch groups",
    "catalog as many signals as can be",
    "catalog choices",
}


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "payloads"), [("batch", BATCHES), ("catalog", CATALOGS)])
def test_whatever_is_claimed_is_read_or_refused_within_256_mb(
    kind: str, payloads: dict[str, Callable[[], bytes]], tmp_path: Path
) -> None:
    for name, make in payloads.items():
        (tmp_path / f"{kind} {name}").write_bytes(packed(make()))
    command = [sys.executable, "-m", "tests.unit.batch.hostile", str(tmp_path)]

    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)

    said = dict(line.split(": ", 1) for line in told.stdout.splitlines())
    assert (set(said), told.stderr) == ({f"{kind} {name}" for name in payloads}, "")
    assert {name for name, what in said.items() if what == "taken"} == {name for name in TAKEN if name.startswith(kind)}
    assert not [name for name, what in said.items() if "died" in what or len(what) > 200]


@pytest.mark.parametrize(
    "content", [b"\x0b", b"\x0c", b"\x06", b"\x07", b"\x12\x05abc", b"\x08", b"\x09abc", b"\xff" * 11]
)
def test_what_is_no_field_of_a_message_is_refused(content: bytes) -> None:
    with pytest.raises(BatchError, match="no message"):
        list(fields(content, 0, len(content)))


def test_fields_of_each_type_are_found_where_they_are() -> None:
    # encoding guide: 150 is 96 01; "testing" in field 2 is 12 07 …; field 3 of 64, field 4 of 32 bits
    content = b"\x08\x96\x01" + b"\x12\x07testing" + b"\x19" + bytes(8) + b"\x25" + bytes(4)
    assert list(fields(content, 0, len(content))) == [(1, 0, 1, 3), (2, 3, 5, 12), (3, 12, 13, 21), (4, 21, 22, 26)]


def test_a_catalog_that_no_reader_would_take_is_not_written() -> None:
    message = MessageDefinition("can0", 1, "M", 8, (SignalDefinition("S", 0, 8),))
    with pytest.raises(DatabaseError, match="name of a signal of 5000 bytes"):
        Catalog(("can0",), (replace(message, signals=(SignalDefinition("S" * 5000, 0, 8),)),))
    with pytest.raises(DatabaseError, match="message"):
        Catalog(("can0",), (message,) * 70_000)


def test_a_catalog_with_fields_of_a_later_version_has_the_hash_that_batches_name() -> None:
    plain = Catalog(("can0",), ())
    content = b"\x08\x01\x12\x04can0" + b"\xfa\x01\x02hi"
    later = decode_catalog(packed(content))
    assert later == plain
    assert later.hash == hashlib.sha256(content).hexdigest()[:32] != decode_catalog(encode_catalog(plain)).hash
