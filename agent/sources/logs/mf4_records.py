# SPDX-License-Identifier: Apache-2.0
"""The records of an MDF 4 file's groups as columns: what stands where in a record, for all of them at once.

    group    ##CG: records of so many bytes, each with the channels ##CN at their byte and bit
    records  one group after the other, or of several groups in turn with an id in front of each (as loggers write them)
    variable a channel whose bytes lie elsewhere, in ##SD or a group of its own: size · bytes; the record has the place

Limits: integers up to 64 bits, floating point, bytes. Of conversions the linear one counts, and for times alone.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from agent.sources.logs.items import UnreadableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from agent.sources.logs.mf4_blocks import Block, MdfBlocks

_DG = struct.Struct("<B")
_CG = struct.Struct("<QQHHxxxxLL")
_CN = struct.Struct("<BBBBLL")
_CC = struct.Struct("<BBHHHdd")
_LINEAR = struct.Struct("<BBHHHdddd")
_LINEAR_CONVERSION = 1
_VARIABLE_GROUP = 1
VARIABLE, MASTER, VIRTUAL_MASTER = 1, 2, 3
_LITTLE_INTEGERS, _BIG_INTEGERS = {0, 2}, {1, 3}
_FLOATS = {(4, 32): "<f4", (4, 64): "<f8", (5, 32): ">f4", (5, 64): ">f8"}


@dataclass(frozen=True, slots=True)
class Field:
    """A channel: where it stands in a record, and what leads to the rest."""

    name: str
    kind: int
    type: int
    bit: int
    byte: int
    bits: int
    conversion: int
    data: int


@dataclass(slots=True)
class Group:
    """A group and its records, `record_bytes` each.

    records   one after the other
    cycles    how many there are, as the group says
    variable  the group holds another's variable bytes
    """

    number: int
    address: int
    id: int
    cycles: int
    variable: bool
    record_bytes: int
    fields: tuple[Field, ...]
    source: int
    records: bytes | bytearray = b""

    def __len__(self) -> int:
        return len(self.records) // self.record_bytes if self.record_bytes else 0

    def named(self, name: str) -> Field | None:
        """The channel of this name behind the frame's."""
        return next((field for field in self.fields if field.name.rpartition(".")[2] == name), None)


def groups(blocks: MdfBlocks, first: int) -> Iterator[list[Group]]:
    """Those of each data group, with their records."""
    number = 0
    for data_group in blocks.chain(first, b"##DG"):
        (id_bytes,) = blocks.fields(data_group, _DG)
        found = []
        for block in blocks.chain(data_group.link(1), b"##CG"):
            found.append(_group(blocks, block, number))
            number += 1
        data = blocks.data(data_group.link(2))
        if id_bytes in {1, 2, 4, 8}:
            _deal(data, id_bytes, found)
        elif found:
            size = found[0].record_bytes
            told = found[0].cycles * size
            found[0].records = (
                data[:told] if blocks.finished or told else data[: len(data) // (size or 1) * (size or 1)]
            )
            blocks.torn |= len(found[0].records) < told
        yield found


def _group(blocks: MdfBlocks, block: Block, number: int) -> Group:
    ident, cycles, flags, _, data_bytes, invalidation_bytes = blocks.fields(block, _CG)
    variable = bool(flags & _VARIABLE_GROUP)
    fields = tuple(_fields(blocks, block.link(1), set()))
    size = 0 if variable else data_bytes + invalidation_bytes
    return Group(number, block.address, ident, cycles, variable, size, fields, block.link(3))


def _fields(blocks: MdfBlocks, first: int, seen: set[int]) -> Iterator[Field]:
    """The channels of a chain and of what they are composed of."""
    for block in blocks.chain(first, b"##CN"):
        if block.address in seen:
            raise UnreadableError("damaged: a channel that is part of itself", f"byte {block.address}")
        seen.add(block.address)
        kind, _, data_type, bit, byte, bits = blocks.fields(block, _CN)
        name = blocks.text(block.link(2))
        yield Field(name, kind, data_type, bit, byte, bits, conversion=block.link(4), data=block.link(5))
        try:
            part = blocks.at(block.link(1), b"##CN").address
        except UnreadableError:  # an array's description, or nothing
            continue
        yield from _fields(blocks, part, seen)


def _deal(data: bytes, id_bytes: int, found: list[Group]) -> None:
    """Records of several groups in turn: to each its own; up to the first id that no group has."""
    parts: dict[int, tuple[bytearray, int]] = {}
    for group in found:
        group.records = bytearray()
        parts[group.id] = group.records, -1 if group.variable else group.record_bytes
    at, end = 0, len(data)
    while at + id_bytes <= end:
        part = parts.get(int.from_bytes(data[at : at + id_bytes], "little"))
        if part is None:
            break
        at += id_bytes
        size = part[1] if part[1] >= 0 else 4 + int.from_bytes(data[at : at + 4], "little")
        if at + size > end:
            break
        part[0].extend(data[at : at + size])
        at += size


def column(group: Group, field: Field) -> NDArray[np.generic]:
    """A number of each record; UnreadableError where it lies outside of it or is none."""
    width = (field.bit + field.bits + 7) // 8
    if not 0 < width <= 8 or field.bit > 7 or field.byte + width > group.record_bytes:
        raise UnreadableError(
            f"damaged: channel {field.name[:60]!r} lies outside of its record", f"group {group.number}"
        )
    part = _table(group)[:, field.byte : field.byte + width]
    if (field.type, field.bits) in _FLOATS:
        return np.ascontiguousarray(part).view(_FLOATS[field.type, field.bits])[:, 0]
    if field.type not in _LITTLE_INTEGERS | _BIG_INTEGERS:
        raise UnreadableError(f"channel {field.name[:60]!r} is no number", f"group {group.number}")
    words = np.zeros((len(part), 8), np.uint8)
    words[:, :width] = part if field.type in _LITTLE_INTEGERS else part[:, ::-1]
    mask = np.uint64((1 << field.bits) - 1)
    return (words.view("<u8")[:, 0] >> np.uint64(field.bit)) & mask


def seconds(blocks: MdfBlocks, group: Group) -> NDArray[np.float64]:
    """The time of each record, since the log's beginning."""
    field = next((field for field in group.fields if field.kind in {MASTER, VIRTUAL_MASTER}), None)
    if field is None:
        raise UnreadableError("frames without times", f"group {group.number}")
    raw = np.arange(len(group)) if field.kind == VIRTUAL_MASTER else column(group, field)
    offset, factor = _linear(blocks, field.conversion)
    return raw.astype(np.float64) * factor + offset


def _linear(blocks: MdfBlocks, address: int) -> tuple[float, float]:
    if not address:
        return 0.0, 1.0
    block = blocks.at(address, b"##CC")
    if blocks.fields(block, _CC)[0] != _LINEAR_CONVERSION:
        return 0.0, 1.0
    *_, offset, factor = blocks.fields(block, _LINEAR)
    return float(offset), float(factor)


def payloads(
    blocks: MdfBlocks, group: Group, field: Field, others: list[Group]
) -> tuple[bytes, int, NDArray[np.int64]]:
    """The bytes of each record: all of them, how far apart they begin (0: one behind the other), and how many."""
    if field.kind != VARIABLE:
        width = field.bits // 8
        if not width or field.byte + width > group.record_bytes:
            raise UnreadableError("damaged: bytes outside of their record", f"group {group.number}")
        return _table(group)[:, field.byte : field.byte + width].tobytes(), width, np.full(len(group), width, np.int64)
    source = next((bytes(other.records) for other in others if other.address == field.data), None)
    store = blocks.data(field.data) if source is None else source
    parts = []
    for place in column(group, replace(field, type=0)).tolist():
        size = int.from_bytes(store[place : place + 4], "little")
        parts.append(store[place + 4 : place + 4 + min(size, 64)])
    return b"".join(parts), 0, np.array([len(part) for part in parts], np.int64)


def _table(group: Group) -> NDArray[np.uint8]:
    count = len(group)
    return np.frombuffer(group.records, np.uint8, count * group.record_bytes).reshape(count, group.record_bytes)
