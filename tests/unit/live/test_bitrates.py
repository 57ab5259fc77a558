# SPDX-License-Identifier: Apache-2.0
"""What the kernel tells of CAN interfaces, laid out as its headers say."""

from __future__ import annotations

import struct

import pytest

from agent.live.bitrates import parse, read_bitrates, with_bitrates
from tests.unit.live.snapshots import snapshot

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
def test_the_bitrate_of_each_can_interface_is_found(nested: int) -> None:
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
    assert parse(answer) == {"can0": 500_000, "can10": 250_000}


def test_an_answer_that_is_cut_short_tells_what_it_holds() -> None:
    answer = link("can0", "can", bittiming(500_000)) + link("can1", "can", bittiming(125_000))
    for end in range(len(answer)):
        assert parse(answer[:end]).items() <= {"can0": 500_000, "can1": 125_000}.items()
    assert parse(bytes(64)) == {}


def test_the_kernel_of_this_machine_answers_or_tells_nothing() -> None:
    assert all(name and bitrate > 0 for name, bitrate in read_bitrates().items())


def test_only_socketcan_buses_of_unknown_bitrate_get_one() -> None:
    rates = {"can0": 250_000}
    assert with_bitrates(snapshot(bus_bitrate=None), rates).buses[0].bitrate == 250_000
    assert with_bitrates(snapshot(bus_bitrate=None), {}).buses[0].bitrate is None
    assert with_bitrates(snapshot(), rates).buses[0].bitrate == 500_000
    assert with_bitrates(snapshot(bus_bitrate=None, bus_interface="slcan"), rates).buses[0].bitrate is None
