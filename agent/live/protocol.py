# SPDX-License-Identifier: Apache-2.0
"""What goes over the agent's socket: one JSON object a line, in both directions, UTF-8, version 2.

The client sends one line and reads until it has what it wants; a connection carries one question.

    {"version": 2, "ask": "status"}
        → {"version": 2, "snapshot": {…}}                    see snapshot.py; then the connection ends
    {"version": 2, "ask": "status", "log_level": "debug"}
        → likewise; the agent logs from now on what is of this level and above, until it reads its configuration
    {"version": 2, "ask": "definitions"}
        → {"version": 2, "definitions": {…}}                 what buses, DBC files and rules say; then it ends
    {"version": 2, "ask": "frames", "every_ms": 250}
        → {"version": 2, "definitions": {…}}
          {"version": 2, "frames": {"time_ns": …, "rows": [[bus, id, message, count, time_ns, "payload"], …],
                                    "skipped": 0}}, …        the last frame of each id: of all that have come since
                                                             the start at first, then of those that came since;
                                                             at most every so many milliseconds, for ever; with
                                                             "every_ms": 0 once, and then it ends
    whatever is wrong
        → {"version": 2, "error": "one line for a person"}   then it ends

`bus` is an index into the definitions' buses, `id` an arbitration id word (bit 31: a 29-bit one), `message` an index
into the catalog's messages (-1: no DBC file describes it), `count` how many frames of the id came since the agent
was started or reloaded, `payload` in hexadecimal. `skipped` updates were left out because the client did not read
them in time: what it sees next is newer, and nothing waits for it.

Versions: an agent answers the version that it was asked in, if it knows it. Keys may be added within a version.

Limits: `LINE_BYTES_MAX` a question.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from agent.config.collecting import CollectConfig, TriggerConfig  # noqa: TC001  (msgspec reads the annotations)
from agent.errors import AgentError
from agent.live.snapshot import Snapshot  # noqa: TC001
from agent.units import Quantity

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agent.config import Config
    from agent.model import MessageDefinition

VERSION = 2
LINE_BYTES_MAX = 4096
EVERY_MS_MIN, EVERY_MS_MAX = 50, 60_000
LEVELS = ("debug", "info", "warning", "error")
Row = tuple[int, int, int, int, int, str]

_Message = TypeVar("_Message", bound=msgspec.Struct)


class ProtocolError(AgentError):
    """A line is not what the protocol says, or of a version that is not known."""


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What the client asks."""

    version: int
    ask: str
    every_ms: int = 0
    log_level: str = ""


class BusDefinition(msgspec.Struct, frozen=True, kw_only=True):
    """A configured bus."""

    name: str
    interface: str
    channel: str
    dbc: tuple[str, ...]
    keep_unknown: bool


class ProtectionDefinition(msgspec.Struct, frozen=True, kw_only=True):
    """What a message's frames are verified by: the names of its signals, "" where it has none; see ``[[integrity]]``.

    message       its index in the catalog
    counter_max   after this value comes 0
    kind          how the checksum is computed
    drop          frames with a wrong checksum are not kept
    """

    message: int
    counter: str = ""
    counter_max: int = 0
    checksum: str = ""
    kind: str = ""
    drop: bool = False


class Definitions(msgspec.Struct, frozen=True, kw_only=True):
    """What is fixed until the next reload. `catalog`: its bytes (batch/catalog.py) in Base64."""

    vehicle: str
    buses: tuple[BusDefinition, ...]
    catalog: str
    collect: tuple[CollectConfig, ...] = ()
    triggers: tuple[TriggerConfig, ...] = ()
    protections: tuple[ProtectionDefinition, ...] = ()

    @property
    def catalog_bytes(self) -> bytes:
        """As `batch.catalog.decode_catalog` reads them."""
        return base64.b64decode(self.catalog)


class Frames(msgspec.Struct, frozen=True, kw_only=True):
    """Last frames of ids."""

    time_ns: int
    rows: tuple[Row, ...]
    skipped: int = 0


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What the agent sends: one of these."""

    version: int
    snapshot: Snapshot | None = None
    definitions: Definitions | None = None
    frames: Frames | None = None
    error: str = ""


_encoder = msgspec.json.Encoder(enc_hook=str)


def encode(message: Request | Answer) -> bytes:
    """One line; in a text that is no UTF-8 (a path may hold any bytes) what is not is escaped."""
    try:
        return _encoder.encode(message) + b"\n"
    except UnicodeEncodeError:
        return _encoder.encode(_escaped(msgspec.to_builtins(message, enc_hook=str))) + b"\n"


def _escaped(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _escaped(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_escaped(each) for each in value]
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value


def decode_request(line: bytes) -> Request:
    """A client's line; raises ProtocolError."""
    question = _decode(line, Request)
    if question.version != VERSION:
        raise ProtocolError(f"version {question.version} is not known here; accepted: {VERSION}")
    if question.ask not in ("status", "definitions", "frames"):
        raise ProtocolError(f'"{question.ask}" cannot be asked; accepted: status, definitions, frames')
    if question.every_ms and not EVERY_MS_MIN <= question.every_ms <= EVERY_MS_MAX:
        raise ProtocolError(f"every_ms {question.every_ms}; accepted: 0, or {EVERY_MS_MIN} to {EVERY_MS_MAX}")
    if question.log_level and question.log_level not in LEVELS:
        raise ProtocolError(f'log_level "{question.log_level}"; accepted: {", ".join(LEVELS)}')
    return question


def decode_answer(line: bytes) -> Answer:
    """The agent's line; raises ProtocolError, also for an error that it tells."""
    answer = _decode(line, Answer)
    if answer.error:
        raise ProtocolError(f"the agent refuses: {answer.error}")
    if answer.version != VERSION:
        raise ProtocolError(f"the agent speaks version {answer.version}, this command {VERSION}: use that agent's own")
    return answer


def _decode(line: bytes, kind: type[_Message]) -> _Message:
    try:
        return msgspec.json.decode(line, type=kind, dec_hook=_quantity)
    except (msgspec.MsgspecError, ValueError) as error:
        raise ProtocolError(f"not a line of the agent's protocol: {error}") from None


def _quantity(kind: type[Any], written: Any) -> Any:
    """A duration or size, written as in the configuration."""
    if issubclass(kind, Quantity) and isinstance(written, str):
        return kind.parse(written)
    raise NotImplementedError(kind)


def define(config: Config, messages: Sequence[MessageDefinition], catalog: bytes) -> Definitions:
    """What buses, DBC files and rules say; `messages` as they were loaded, `catalog` its bytes."""
    return Definitions(
        vehicle=config.vehicle.id,
        buses=tuple(
            BusDefinition(
                name=bus.name,
                interface=bus.interface,
                channel=str(bus.channel),
                dbc=tuple(map(str, bus.dbc)),
                keep_unknown=bus.keep_unknown,
            )
            for bus in config.buses
        ),
        catalog=base64.b64encode(catalog).decode(),
        collect=config.collect,
        triggers=config.triggers,
        protections=tuple(_protections(config, messages)),
    )


def _protections(config: Config, messages: Sequence[MessageDefinition]) -> Iterator[ProtectionDefinition]:
    from agent.collect.integrity.protection import protections_of

    for index, protection in protections_of(messages, config.integrity).items():
        signals = messages[index].signals
        yield ProtectionDefinition(
            message=index,
            counter=signals[protection.counter].name if protection.counter >= 0 else "",
            counter_max=protection.counter_max,
            checksum=signals[protection.checksum].name if protection.checksum >= 0 else "",
            kind=(protection.config.kind or "") if protection.checksum >= 0 else "",
            drop=protection.config.drop,
        )
