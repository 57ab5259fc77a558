# SPDX-License-Identifier: Apache-2.0
"""The catalog: names, units, scaling and value tables for the numbers in batches.

A catalog is sent once for each configuration and addressed by the hash of its content. Cars with the same DBC files
share one, and an old batch still finds its own.

    bytes  = one zstd frame with content checksum [ canferry.Catalog (batch.proto) ]
    hash   = first 16 bytes of SHA-256 of the canferry.Catalog message, not of the zstd frame

Limits: the same for writer and reader, and far above what DBC files of ten megabytes need. Within them a catalog costs
less than 256 MB and one second.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError

from agent.batch import batch_pb2
from agent.batch.frame import compress, decompress
from agent.batch.wire import Limit, numbers, screen
from agent.errors import BatchError, DatabaseError
from agent.model import MessageDefinition, SignalDefinition

if TYPE_CHECKING:
    from collections.abc import Sequence

VERSION = 1
HASH_BYTES = 16
CATALOG_BYTES_MAX = 16 << 20
"""A catalog that claims to be longer, uncompressed, is refused."""
BUSES_MAX, MESSAGES_MAX, SIGNALS_MAX, CHOICES_MAX, RANGES_MAX = 256, 1 << 16, 1 << 16, 1 << 18, 1 << 18
FIELDS_MAX = 12 * SIGNALS_MAX
TEXT_BYTES_MAX = 4096
_SIGNAL = {
    1: Limit("name of a signal", FIELDS_MAX, TEXT_BYTES_MAX),
    10: Limit("unit", FIELDS_MAX, TEXT_BYTES_MAX),
    13: numbers("choice", 10 * CHOICES_MAX),
    14: Limit("name of a choice", CHOICES_MAX, TEXT_BYTES_MAX),
    16: Limit("name of a multiplexor", FIELDS_MAX, TEXT_BYTES_MAX),
    17: numbers("range's begin", RANGES_MAX),
    18: numbers("range's end", RANGES_MAX),
}
_MESSAGE = {
    1: Limit("name of a message", FIELDS_MAX, TEXT_BYTES_MAX),
    7: Limit("signal", SIGNALS_MAX, CATALOG_BYTES_MAX, _SIGNAL),
}
_LIMITS = {
    2: Limit("bus", BUSES_MAX, TEXT_BYTES_MAX),
    3: Limit("message", MESSAGES_MAX, CATALOG_BYTES_MAX, _MESSAGE),
}
_LEVEL = 12
_INT64_MAX = (1 << 63) - 1
_WRAP = 1 << 64


@dataclass(frozen=True)
class Catalog:
    """What batches refer to by number.

    buses      names, in the order of a group's bus index
    messages   definitions, in the order of a group's message index
    hash       32 hexadecimal digits, made from the content

    Raises:
        DatabaseError: a definition has a number that a catalog cannot hold, or there are too many of them.

    """

    buses: tuple[str, ...]
    messages: tuple[MessageDefinition, ...]
    hash: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if not self.hash:
            object.__setattr__(self, "hash", _hash(_to_message(self)))


def encode_catalog(catalog: Catalog) -> bytes:
    """The bytes of a catalog, as they travel and are stored."""
    return compress([_to_message(catalog)], _LEVEL)


def decode_catalog(payload: bytes) -> Catalog:
    """Read a catalog.

    Raises:
        BatchError: the bytes are damaged, no catalog, or one of a later version.

    """
    content = decompress(payload, CATALOG_BYTES_MAX)
    screen(content, _LIMITS, FIELDS_MAX)
    message = batch_pb2.Catalog()
    try:
        message.ParseFromString(content)
    except DecodeError as error:
        raise BatchError(f"not a catalog: {error}") from None
    if message.version != VERSION:
        raise BatchError(f"catalog version {message.version} is unknown; this reader knows {VERSION}")
    try:
        messages = tuple(_message_from(each, message.buses) for each in message.messages)
        return Catalog(tuple(message.buses), messages, _hash(content))
    except IndexError:
        raise BatchError("a catalog's message names a bus that it does not have") from None
    except (ValueError, OverflowError) as error:
        raise BatchError(f"not a sound catalog: {error}") from None


def is_catalog(payload: bytes, name: str) -> bool:
    """Whether these are the bytes of the catalog of this hash."""
    try:
        return _hash(decompress(payload, CATALOG_BYTES_MAX)) == name
    except BatchError:
        return False


def _hash(message: bytes) -> str:
    return hashlib.sha256(message).digest()[:HASH_BYTES].hex()


def _to_message(catalog: Catalog) -> bytes:
    buses = {bus: index for index, bus in enumerate(catalog.buses)}
    message = batch_pb2.Catalog(
        version=VERSION,
        buses=catalog.buses,
        messages=[_held(definition, buses[definition.bus]) for definition in catalog.messages],
    )
    content = message.SerializeToString(deterministic=True)
    try:
        screen(content, _LIMITS, FIELDS_MAX)
    except BatchError as error:
        raise DatabaseError(f"a catalog cannot hold all definitions: {error}") from None
    return content


def _held(definition: MessageDefinition, bus: int) -> batch_pb2.Message:
    try:
        return _message_to(definition, bus)
    except (ValueError, OverflowError) as error:
        raise DatabaseError(f"message {definition.name}: a catalog cannot hold it: {error}") from None


def _message_to(definition: MessageDefinition, bus: int) -> batch_pb2.Message:
    return batch_pb2.Message(
        name=definition.name,
        bus=bus,
        id=definition.can_id,
        length=definition.length,
        j1939=definition.j1939,
        cycle_ms=definition.cycle_ms,
        signals=[_signal_to(signal) for signal in definition.signals],
    )


def _signal_to(signal: SignalDefinition) -> batch_pb2.Signal:
    integers = isinstance(signal.scale, int), isinstance(signal.offset, int)
    return batch_pb2.Signal(
        name=signal.name,
        start=signal.start,
        length=signal.length,
        motorola=not signal.little_endian,
        signed=signal.signed,
        ieee_float=signal.is_float,
        scale=None if signal.scale == 1 else signal.scale,
        offset=None if signal.offset == 0 else signal.offset,
        integer_scale=integers[0],
        integer_offset=integers[1],
        unit=signal.unit,
        minimum=signal.minimum,
        maximum=signal.maximum,
        choice_value=[value - _WRAP if value > _INT64_MAX else value for value, _ in signal.choices],
        choice_name=[name for _, name in signal.choices],
        multiplexor=signal.multiplexor,
        selected_by=signal.selected_by or "",
        selected_low=[low for low, _ in signal.selected_when],
        selected_high=[high for _, high in signal.selected_when],
    )


def _message_from(message: batch_pb2.Message, buses: Sequence[str]) -> MessageDefinition:
    return MessageDefinition(
        bus=buses[message.bus],
        can_id=message.id,
        name=message.name,
        length=message.length,
        signals=tuple(_signal_from(signal) for signal in message.signals),
        j1939=message.j1939,
        cycle_ms=message.cycle_ms,
    )


def _choice_values(signal: batch_pb2.Signal) -> Sequence[int]:
    """As the field's numbers are; those of an unsigned one of 64 bits travel as a signed one's."""
    if signal.length < 64 or signal.signed or signal.ieee_float:
        return signal.choice_value
    return [value % _WRAP for value in signal.choice_value]


def _signal_from(signal: batch_pb2.Signal) -> SignalDefinition:
    if not 1 <= signal.length <= 64:
        raise BatchError(f"signal {signal.name!r} is {signal.length} bits long; accepted: 1 to 64")
    scale = signal.scale if signal.HasField("scale") else 1.0
    return SignalDefinition(
        name=signal.name,
        start=signal.start,
        length=signal.length,
        little_endian=not signal.motorola,
        signed=signal.signed,
        is_float=signal.ieee_float,
        scale=int(scale) if signal.integer_scale else scale,
        offset=int(signal.offset) if signal.integer_offset else signal.offset,
        unit=signal.unit,
        minimum=signal.minimum if signal.HasField("minimum") else None,
        maximum=signal.maximum if signal.HasField("maximum") else None,
        choices=tuple(zip(_choice_values(signal), signal.choice_name, strict=False)),
        multiplexor=signal.multiplexor,
        selected_by=signal.selected_by or None,
        selected_when=tuple(zip(signal.selected_low, signal.selected_high, strict=False)),
    )
