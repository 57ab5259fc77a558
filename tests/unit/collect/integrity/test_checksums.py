# SPDX-License-Identifier: Apache-2.0
"""Checksums against published values, and against cars' own."""

from __future__ import annotations

import numpy as np
import pytest

from agent.collect.integrity.checksums import Checksums
from agent.collect.integrity.protection import MessageProtection, protections_of
from agent.config.integrity import IntegrityConfig
from agent.model import EXTENDED, MessageDefinition, SignalDefinition

LENGTH = 64


def protection(config: IntegrityConfig, checksum_byte: int, bits: int = 8) -> MessageProtection:
    counter = SignalDefinition("COUNTER", 8, 4)
    checksum = SignalDefinition("CHECKSUM", 8 * checksum_byte, bits)
    return protections_of([MessageDefinition("can0", 0x123, "M", 8, (counter, checksum))], [config])[0]


def computed(config: IntegrityConfig, payload: bytes, *, at: int = 0, can_id: int = 0x123, bits: int = 8) -> int:
    """The checksum that lies at a byte of this payload, whose counter is the low half of byte 1."""
    data = np.zeros((1, LENGTH), np.uint8)
    data[0, : len(payload)] = np.frombuffer(payload, np.uint8)
    expected = Checksums([protection(config, at, bits)]).expected(
        np.zeros(1, np.int64),
        data,
        np.array([len(payload)], np.uint8),
        np.array([can_id], np.uint32),
        np.array([payload[1] & 0x0F if len(payload) > 1 else 0], np.int64),
    )
    return int(expected[0])


def of_kind(kind: str, **keys: object) -> IntegrityConfig:
    return IntegrityConfig(message="M", counter="COUNTER", checksum="CHECKSUM", kind=kind, **keys)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("data", "j1850", "h2f"),
    [  # AUTOSAR, Specification of CRC Routines, 7.2.1.1 and 7.2.1.2; the last one: the catalogue's check value
        ("00000000", 0x59, 0x12),
        ("F20183", 0x37, 0xC2),
        ("0FAA0055", 0x79, 0xC6),
        ("00FF5511", 0xB8, 0x77),
        ("332255AABBCCDDEEFF", 0xCB, 0x11),
        ("926B55", 0x8C, 0x33),
        ("FFFFFFFF", 0x74, 0x6C),
        ("313233343536373839", 0x4B, 0xDF),
    ],
)
@pytest.mark.parametrize("at", [0, 2, -1])
def test_the_crcs_have_the_published_values_wherever_the_checksum_lies(
    data: str, j1850: int, h2f: int, at: int
) -> None:
    others = bytes.fromhex(data)
    at = at if at >= 0 else len(others)
    payload = others[:at] + b"\xa5" + others[at:]
    assert computed(of_kind("crc8-sae-j1850"), payload, at=at) == j1850
    assert computed(of_kind("crc8-h2f"), payload, at=at) == h2f


@pytest.mark.parametrize(
    ("mode", "payload", "expected"),
    [  # AUTOSAR, E2E Protocol Specification, the examples of profile 1: data id 0x123, eight bytes of zeros
        ("both", "0000000000000000", 0xCC),
        ("both", "0001000000000000", 0x91),
        ("alternating", "0000000000000000", 0xCE),
        ("low", "0000000000000000", 0xCE),
        ("low", "0001000000000000", 0x93),
        ("nibble", "0010000000000000", 0x2A),
    ],
)
def test_profile_1_has_the_published_values(mode: str, payload: str, expected: int) -> None:
    assert computed(of_kind("e2e-1", data_id=0x123, data_id_mode=mode), bytes.fromhex(payload)) == expected


def test_profile_1_takes_the_high_byte_of_the_data_id_where_the_counter_is_odd() -> None:
    payload = bytes.fromhex("0001000000000000")
    alternating = of_kind("e2e-1", data_id=0x4523, data_id_mode="alternating")
    assert computed(alternating, payload) == computed(of_kind("e2e-1", data_id=0x45, data_id_mode="low"), payload)


@pytest.mark.parametrize(("counter", "expected"), [(1, 0x1B), (2, 0x98)])
def test_profile_2_has_the_published_values(counter: int, expected: int) -> None:
    """AUTOSAR, E2E Protocol Specification, the example of profile 2: data ids 1 to 16, eight bytes of zeros."""
    payload = bytes([0, counter, 0, 0, 0, 0, 0, 0])
    assert computed(of_kind("e2e-2", data_ids=tuple(range(1, 17))), payload) == expected


@pytest.mark.parametrize(
    ("mode", "data_id", "payload"),
    [  # made by another implementation, the package autosar-e2e 1.0.0
        ("both", 51912, "42a16d3cfcf9a44d"),
        ("alternating", 36699, "44a7832d4982503f"),
        ("low", 42030, "c536072f66b9175b"),
        ("nibble", 2714, "f7a24b99e36a39f6"),
    ],
)
def test_profile_1_agrees_with_another_implementation(mode: str, data_id: int, payload: str) -> None:
    frame = bytes.fromhex(payload)
    assert computed(of_kind("e2e-1", data_id=data_id, data_id_mode=mode), frame) == frame[0]


@pytest.mark.parametrize(
    ("data_ids", "payload"),
    [  # likewise
        ("732056703b8e1e692bb1ef7d5b427009", "5160a733ddadea3d"),
        ("a35a89719b54a33fd957bea52c31a9e3", "cf6114381f23d56b"),
    ],
)
def test_profile_2_agrees_with_another_implementation(data_ids: str, payload: str) -> None:
    frame = bytes.fromhex(payload)
    assert computed(of_kind("e2e-2", data_ids=tuple(bytes.fromhex(data_ids))), frame) == frame[0]


def test_a_sum_covers_all_but_the_checksum_and_if_asked_id_and_length() -> None:
    payload = bytes([1, 2, 3, 0xFE, 0x77])
    assert computed(of_kind("sum"), payload, at=4) == (1 + 2 + 3 + 0xFE) % 256
    assert computed(of_kind("sum", start=200), payload, at=4) == (1 + 2 + 3 + 0xFE + 200) % 256
    assert computed(of_kind("sum", with_length=True), payload, at=4) == (1 + 2 + 3 + 0xFE + 5) % 256
    assert computed(of_kind("sum", with_id=True), payload, at=4) == (1 + 2 + 3 + 0xFE + 1 + 0x23) % 256
    assert computed(of_kind("sum", with_id=True), payload, at=4, can_id=0x18FEF123) == (
        (1 + 2 + 3 + 0xFE + 0x18 + 0xFE + 0xF1 + 0x23) % 256
    )


def test_a_sum_of_other_than_eight_bits_leaves_out_its_own_bits_only() -> None:
    payload = bytes([0x12, 0xF4, 0xFF])
    assert computed(of_kind("sum"), payload, at=0, bits=4) == (0x10 + 0xF4 + 0xFF) % 16
    assert computed(of_kind("sum"), payload, at=0, bits=12) == (0xF0 + 0xFF) % 4096


def test_an_exclusive_or_goes_the_same_way() -> None:
    payload = bytes([1, 2, 4, 0x80, 0x77])
    assert computed(of_kind("xor"), payload, at=4) == 0x87
    assert computed(of_kind("xor", start=0x0F, with_id=True, with_length=True), payload, at=4) == (
        0x87 ^ 0x0F ^ 0x01 ^ 0x23 ^ 5
    )


@pytest.mark.parametrize("little_endian", [True, False])
def test_the_checksums_bits_are_found_in_either_byte_order(little_endian: bool) -> None:
    start = 20 if little_endian else 23
    checksum = SignalDefinition("CHECKSUM", start, 12, little_endian=little_endian)
    message = MessageDefinition("can0", 1, "M", 8, (checksum,))
    found = protections_of([message], [IntegrityConfig(message="M", checksum="CHECKSUM", kind="sum")])[0]
    left = [0xFF, 0xFF, 0x0F, 0x00] if little_endian else [0xFF, 0xFF, 0x00, 0x0F]
    assert found.mask[:4].tolist() == left
    assert (found.mask[4:] == 0xFF).all()


def test_a_29_bit_identifier_counts_without_its_flag() -> None:
    config, payload = of_kind("sum", with_id=True), bytes([0, 0])
    assert computed(config, payload, can_id=(0x18FEF123 | EXTENDED) & 0x1FFF_FFFF) == (0x18 + 0xFE + 0xF1 + 0x23) % 256
