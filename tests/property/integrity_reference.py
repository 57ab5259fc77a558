# SPDX-License-Identifier: Apache-2.0
"""What counters and checksums should be found to say, frame by frame and bit by bit: slow and obvious."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.config.integrity import IntegrityConfig


def crc8(polynomial: int, start: int, data: bytes) -> int:
    """Bit by bit; not inverted."""
    crc = start
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ polynomial) & 0xFF if crc & 0x80 else crc << 1
    return crc


def id_bytes(can_id: int) -> bytes:
    return (can_id & 0x1FFF_FFFF).to_bytes(4, "little")


def checksum(config: IntegrityConfig, data: bytes, at: int, can_id: int, counter: int) -> int:
    """Of a payload whose checksum is the byte `at`."""
    rest = data[:at] + data[at + 1 :]
    if config.kind in ("sum", "xor"):
        extra = bytes([config.start])
        extra += bytes([len(data)]) if config.with_length else b""
        extra += id_bytes(can_id) if config.with_id else b""
        total = 0
        for byte in rest + extra:
            total = (total + byte) % 256 if config.kind == "sum" else total ^ byte
        return total
    if config.kind == "crc8-sae-j1850":
        return crc8(0x1D, 0xFF, rest) ^ 0xFF
    if config.kind == "crc8-h2f":
        return crc8(0x2F, 0xFF, rest) ^ 0xFF
    if config.kind == "e2e-2":
        return crc8(0x2F, 0xFF, rest + bytes([config.data_ids[counter % 16]])) ^ 0xFF
    assert config.data_id is not None
    low, high = config.data_id % 256, config.data_id // 256
    first = {
        "both": bytes([low, high]),
        "low": bytes([low]),
        "nibble": bytes([low, 0]),
        "alternating": bytes([high if counter % 2 else low]),
    }[config.data_id_mode]
    return crc8(0x1D, 0x00, first + rest)


@dataclass
class Followed:
    """One message's counter so far."""

    last: int | None = None
    wrong_since: int = 0


@dataclass
class Reference:
    """Judges one frame after the other; `checksum_at` and `counter_at` are bytes, the counter the low four bits."""

    config: IntegrityConfig
    checksum_at: int
    counter_at: int
    counter_max: int
    followed: dict[int, Followed] = field(default_factory=dict)
    found: Counter[str] = field(default_factory=Counter)

    def take(self, can_id: int, data: bytes) -> bool:
        """Whether the frame is wrong."""
        followed = self.followed.setdefault(can_id, Followed())
        counter = data[self.counter_at] & 0x0F if len(data) > self.counter_at else None
        wrong = counter is not None and counter > self.counter_max
        if len(data) > self.checksum_at and self.config.kind is not None:
            should = checksum(self.config, data, self.checksum_at, can_id, counter or 0)
            wrong = wrong or data[self.checksum_at] != should
        self.found["frames"] += 1
        self.found["wrong"] += wrong
        if counter is None or self.config.counter is None:
            return wrong
        if wrong:
            followed.wrong_since += 1
            return wrong
        if followed.last is not None:
            passed = (counter - followed.last) % (self.counter_max + 1)
            self.found["missing"] += max(passed - 1 - followed.wrong_since, 0)
            self.found["repeated"] += passed == 0 and followed.wrong_since == 0
        followed.last, followed.wrong_since = counter, 0
        return wrong
