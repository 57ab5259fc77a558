# SPDX-License-Identifier: Apache-2.0
"""PUBLISH packets as brokers send them; bytes as MQTT 5.0 and 3.1.1, 3.3, have them."""

from __future__ import annotations

import pytest

from agent.uplink.packets import Publish, read_publish

QOS_0, QOS_1, RETAINED = 0x30, 0x32, 0x33


@pytest.mark.parametrize(
    ("head", "packet", "five", "expected"),
    [
        (QOS_0, b"\x00\x03a/bxyz", False, Publish("a/b", b"xyz", False, 0)),
        (QOS_0, b"\x00\x03a/b\x00xyz", True, Publish("a/b", b"xyz", False, 0)),
        (RETAINED, b"\x00\x03a/b\x12\x34xyz", False, Publish("a/b", b"xyz", True, 0x1234)),
        (QOS_1, b"\x00\x03a/b\x12\x34\x04\x7fodd" + b"xyz", True, Publish("a/b", b"xyz", False, 0x1234)),
        (QOS_1, b"\x00\x01a\x00\x01\x80\x01" + bytes(128) + b"xyz", True, Publish("a", b"xyz", False, 1)),
        (QOS_1, b"\x00\x01a\x00\x01\xff\xff\x7f" + bytes(9), True, Publish("a", b"", False, 1)),
        (QOS_1, b"\x00\x02\xff/\x00\x01", False, Publish("\\xff/", b"", False, 1)),
    ],
    ids=["QoS 0", "no properties", "retained", "unknown property", "long properties", "cut in them", "no UTF-8"],
)
def test_publish_is_read_without_its_properties(head: int, packet: bytes, five: bool, expected: Publish) -> None:
    assert read_publish(head, packet, five=five) == expected


@pytest.mark.parametrize(
    "packet", [b"", b"\x00\x09a/b", b"\x00\x03a/b\x00", b"\x00\x01a\x00\x00", b"\x00\x01a\x00\x01\xff\xff\xff\xff\x01"]
)
def test_publish_that_is_cut_in_its_head_is_refused(packet: bytes) -> None:
    with pytest.raises(ValueError, match="a PUBLISH "):
        read_publish(QOS_1, packet, five=True)
