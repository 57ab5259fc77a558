# SPDX-License-Identifier: Apache-2.0
"""What the kernel tells of links, laid out as its headers say."""

from __future__ import annotations

import struct

import pytest

from agent.sources.rtnetlink import Link, parse, read_links

NEWLINK, DONE, ARPHRD_CAN, NESTED = 16, 3, 280, 0x8000


def attribute(kind: int, content: bytes) -> bytes:
    return (struct.pack("=HH", 4 + len(content), kind) + content).ljust((4 + len(content) + 3) & ~3, b"\0")


def message(kind: int, content: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(content), kind, 2, 1, 0) + content


def link(name: str, driver: str, *data: bytes, nested: int = 0) -> bytes:
    info = attribute(1, driver.encode() + b"\0") + attribute(2 | nested, b"".join(data))
    head = struct.pack("=BxHiII", 0, ARPHRD_CAN, 3, 0xC1, 0)
    return message(NEWLINK, head + attribute(3, name.encode() + b"\0") + attribute(18 | nested, info))


def bittiming(bitrate: int) -> bytes:
    return attribute(1, struct.pack("=8I", bitrate, 875, 125, 6, 7, 2, 1, 1))


@pytest.mark.parametrize("nested", [0, NESTED])
def test_kind_and_bitrate_of_each_link_are_found(nested: int) -> None:
    clock = attribute(3, struct.pack("=I", 8_000_000))
    answer = b"".join(
        (
            link("lo", "dummy", attribute(1, bytes(32))),
            link("can0", "can", clock, bittiming(500_000), nested=nested),
            link("vcan0", "vcan"),
            link("can10", "can", bittiming(250_000), clock, nested=nested),
            link("can2", "can", bittiming(0)),
            link("other0", "vlan", bittiming(77)),
            message(DONE, bytes(4)),
        )
    )
    assert parse(answer) == {
        "lo": Link("dummy"),
        "can0": Link("can", 500_000),
        "vcan0": Link("vcan"),
        "can10": Link("can", 250_000),
        "can2": Link("can"),
        "other0": Link("vlan"),
    }


def test_an_answer_that_is_cut_short_tells_the_links_that_it_holds() -> None:
    answer = link("can0", "can", bittiming(500_000)) + link("can1", "can", bittiming(125_000))
    for end in range(len(answer)):
        assert parse(answer[:end]).items() <= parse(answer).items()
    assert parse(bytes(64)) == {}


def test_the_kernel_of_this_machine_tells_its_loopback() -> None:
    assert read_links()["lo"] == Link()
