# SPDX-License-Identifier: Apache-2.0
"""A small car: its definitions, its frames, and batches of them as the agent makes them."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from agent.batch.catalog import Catalog, encode_catalog
from agent.batch.codec import Header, UnknownCount, encode_batch
from agent.decode.decoder import Decoder
from agent.decode.plan import Plan
from agent.model import EXTENDED, BatchId, ClockReading, Event, FrameBlock, Gap, MessageDefinition, SignalDefinition

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

MS = 10**6
SECOND = 10**9
START = 1_700_000_000 * SECOND

STEER = MessageDefinition(
    "can0",
    0x104,
    "STEER",
    4,
    (
        SignalDefinition("ANGLE", 0, 16, signed=True, scale=-0.5, unit="deg"),
        SignalDefinition("TORQUE", 16, 8, offset=-100, unit="N,m"),
        SignalDefinition("STATE", 24, 2, choices=((0, "Off"), (1, 'On "line"'))),
    ),
)
MODES = MessageDefinition(
    "can1",
    0x18FEF100 | EXTENDED,
    "MODES",
    5,
    (
        SignalDefinition("KIND", 0, 8, multiplexor=True),
        SignalDefinition("SPEED", 8, 32, is_float=True, selected_by="KIND", selected_when=((1, 1),)),
        SignalDefinition("COUNT", 8, 32, selected_by="KIND", selected_when=((2, 2),)),
    ),
)
CATALOG = Catalog(("can0", "can1"), (STEER, MODES))

Frame = tuple[int, int, int, bytes]
"""Time in ns, bus index, arbitration id word, payload."""


def steer(time_ns: int, angle: int, torque: int = 0, state: int = 0) -> Frame:
    return time_ns, 0, STEER.can_id, angle.to_bytes(2, "little", signed=True) + bytes((torque, state))


def modes(time_ns: int, kind: int, value: bytes = bytes(4)) -> Frame:
    return time_ns, 1, MODES.can_id, bytes((kind,)) + value


def batch(
    sequence: int,
    frames: Sequence[Frame],
    *,
    vehicle: str = "car-1",
    stream: str = "normal-1",
    gaps: tuple[Gap, ...] = (),
    events: tuple[Event, ...] = (),
    keep_unknown: bool = False,
    clock: ClockReading | None = None,
    catalog: Catalog = CATALOG,
) -> bytes:
    plan = Plan(catalog.buses, catalog.messages, keep_unknown=frozenset(catalog.buses if keep_unknown else ()))
    decoded = Decoder(plan).decode(block(frames))
    header = Header(
        BatchId(vehicle, stream, sequence),
        catalog.hash,
        MS,
        min((frame[0] for frame in frames), default=START),
        max((frame[0] for frame in frames), default=START),
        len(frames),
        clock=clock or ClockReading(),
        gaps=gaps,
        events=events,
        unknown=tuple(UnknownCount(bus, can_id, n) for (bus, can_id), n in decoded.unknown.items()),
    )
    return encode_batch(header, decoded.signals, catalog.messages, 3)


def block(frames: Sequence[Frame]) -> FrameBlock:
    data = np.zeros((len(frames), 8), np.uint8)
    for row, frame in enumerate(frames):
        data[row, : len(frame[3])] = np.frombuffer(frame[3], np.uint8)
    return FrameBlock(
        np.array([frame[0] for frame in frames], np.int64),
        np.array([frame[1] for frame in frames], np.uint8),
        np.array([frame[2] for frame in frames], np.uint32),
        np.array([len(frame[3]) for frame in frames], np.uint8),
        np.zeros(len(frames), np.uint8),
        data,
    )


@cache
def catalog() -> bytes:
    return encode_catalog(CATALOG)


def store(
    out: Path,
    sequence: int,
    payload: bytes,
    *,
    stream: str = "normal-1",
    vehicle: str = "car-1",
    definitions: Catalog = CATALOG,
) -> Path:
    """Put a batch, and the catalog, where `replay` and `receive` put them."""
    folder = out / vehicle / stream
    catalogs = out / vehicle / "catalogs"
    folder.mkdir(parents=True, exist_ok=True)
    catalogs.mkdir(exist_ok=True)
    encoded = catalog() if definitions is CATALOG else encode_catalog(definitions)
    (catalogs / f"{definitions.hash}.catalog.zst").write_bytes(encoded)
    path = folder / f"{sequence:012d}.batch.zst"
    path.write_bytes(payload)
    return path
