# SPDX-License-Identifier: Apache-2.0
"""Few bytes that claim a lot are counted before anything is made of them."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from agent.batch.catalog import Catalog, decode_catalog, encode_catalog
from agent.batch.wire import fields
from agent.errors import BatchError, DatabaseError
from agent.model import MessageDefinition, SignalDefinition
from tests.support.hostile_batches import packed


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
