# SPDX-License-Identifier: Apache-2.0
"""Payloads that claim much in few bytes, made by the format's own rules, and a process with little memory to read them.

python -m tests.support.hostile_batches FOLDER   reads each file within `ROOM_BYTES` more than it had, says how
"""

from __future__ import annotations

import os
import resource
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zstandard

from agent.batch import batch_pb2
from agent.batch.catalog import Catalog, decode_catalog
from agent.batch.codec import Header, decode_batch, encode_batch
from agent.decode.decoder import Decoder
from agent.decode.plan import Plan
from agent.errors import BatchError
from agent.model import BatchId, FrameBlock, MessageDefinition, SignalDefinition

if TYPE_CHECKING:
    from collections.abc import Callable

ROOM_BYTES = 256 << 20
WIDE = MessageDefinition("can0", 1, "WIDE", 8, tuple(SignalDefinition(f"s{n}", 0, 8) for n in range(5000)))
CATALOG = Catalog(("can0",), (WIDE,))
RAW = -1


def packed(content: bytes) -> bytes:
    """One zstd frame, as small as it gets."""
    return zstandard.ZstdCompressor(level=3, write_checksum=True).compress(content)


def head(**changes: Any) -> bytes:
    """The fields that each batch has, and others."""
    told: dict[str, Any] = {"version": 1, "vehicle": "car-1", "stream": "hostile", "time_unit_ns": 1_000_000} | changes
    return batch_pb2.Batch(catalog=bytes.fromhex(CATALOG.hash), **told).SerializeToString()


def groups(number: int, *, rows: int = 1, message: int = RAW, shapes: int = 0, **columns: Any) -> bytes:
    """So many groups of as many rows, the first of the message and all others, too."""
    told = batch_pb2.Batch(
        group_message=[message] + [0] * (number - 1),
        group_bus=[0] * number,
        group_id=range(1, number + 1),
        group_rows=[rows] * number,
        group_begin=[0] * number,
        group_period=[256] * number,
        group_shapes=[shapes] * number,
        **columns,
    )
    return head() + told.SerializeToString()


def shaped(number: int, rows: int, signals: int, kind: int, **columns: Any) -> bytes:
    """Groups of raw frames that carry the first so many bytes of their payloads, each column of one kind."""
    count = number * (2 + signals)
    shape = [0] + [1] * (signals - 1)
    told: dict[str, Any] = {"shape_signals": [signals] * number, "shape_signal": shape * number}
    kinds = bytes([0] * (2 * number) + [kind] * (number * signals))
    return groups(number, rows=rows, shapes=1, column_kind=kinds, column_first=[0] * count, **told, **columns)


def gaps_of(text: str, number: int) -> bytes:
    return head(gaps=[batch_pb2.Gap(kind="dropped", detail=text)] * number)


def events_of(text: str, number: int) -> bytes:
    return head(events=[batch_pb2.Event(kind="absent", subject=text)] * number)


def catalog_of(*messages: batch_pb2.Message) -> bytes:
    return batch_pb2.Catalog(version=1, buses=["can0"], messages=messages).SerializeToString()


def signals(number: int, **fields: Any) -> bytes:
    told = batch_pb2.Signal(name="s", length=8, **fields)
    return catalog_of(batch_pb2.Message(name="m", signals=[told] * number))


_MILLION = 1 << 20
BATCHES: dict[str, Callable[[], bytes]] = {
    "empty gaps": lambda: head() + b"\x62\x00" * (3 * _MILLION),
    "empty events": lambda: head() + b"\x9a\x01\x00" * (2 * _MILLION),
    "as many events as can be": lambda: events_of("can0.BRAKE", 65_536),
    "a gap of 58 MB": lambda: gaps_of("x" * (58 * _MILLION), 1),
    "a gap of a megabyte": lambda: gaps_of("x" * _MILLION, 1),
    "a vehicle of a megabyte": lambda: head(vehicle="x" * _MILLION),
    "nested groups": lambda: head() + b"\xab\x02" * _MILLION,
    "unpacked numbers": lambda: head() + b"\x68\x00" * (3 * _MILLION),
    "unknown frames": lambda: head(unknown_bus=[1] * 3 * _MILLION, unknown_id=[1] * 3 * _MILLION),
    "rows of nothing": lambda: shaped(1, 4 * _MILLION, 15, 0),
    "more rows than can be": lambda: shaped(3, 4 * _MILLION, 1, 0),
    "lines": lambda: shaped(1, 4 * _MILLION, 2, 1, linear_step=[1, 1]),
    "more lines than can be": lambda: shaped(1, 4 * _MILLION, 3, 1, linear_step=[1] * 3),
    "pools": lambda: shaped(1, 2 * _MILLION, 3, 0x43, pool4=[1] * 3 * (2 * _MILLION - 1)),
    "sparse changes": lambda: shaped(
        1, 2 * _MILLION, 1, 2, sparse_changes=[_MILLION], sparse_gap=[1] * _MILLION, sparse_delta=[1] * _MILLION
    ),
    "groups": lambda: shaped(1 << 14, 1, 2, 0),
    "more columns than can be": lambda: shaped(1 << 14, 1, 3, 0),
    "more groups than can be": lambda: groups(200_000),
    "shapes of nothing": lambda: groups(1, shapes=4 * _MILLION, shape_signals=[0] * 4 * _MILLION),
    "columns of a wide message": lambda: groups(20_000, message=0),
    "longer than can be": lambda: bytes(100 * _MILLION),
}
CATALOGS: dict[str, Callable[[], bytes]] = {
    "empty messages": lambda: catalog_of() + b"\x1a\x00" * (7 * _MILLION),
    "empty signals": lambda: catalog_of(batch_pb2.Message.FromString(b"\x3a\x00" * 2 * _MILLION)),
    "as many signals as can be": lambda: signals(
        65_536, scale=0.5, offset=1.5, unit="km/h", minimum=0, maximum=1, start=1, signed=True, motorola=True
    ),
    "a name of a megabyte": lambda: signals(1, unit="x" * _MILLION),
    "choices": lambda: signals(64, choice_value=range(4096), choice_name=[f"{n}" for n in range(4096)]),
    "more choices than can be": lambda: signals(1, choice_name=["x"] * 4 * _MILLION),
    "ranges": lambda: signals(1, selected_low=[1] * 7 * _MILLION, selected_high=[1] * 7 * _MILLION),
    "buses": lambda: batch_pb2.Catalog(version=1, buses=["x"] * 4 * _MILLION).SerializeToString(),
    "nested groups": lambda: catalog_of() + b"\x2b" * 8 * _MILLION,
    "longer than can be": lambda: bytes(100 * _MILLION),
}


def ordinary_catalog() -> Catalog:
    """A hundred messages of eight signals, as DBC files have them."""
    states = ((1, "Open"), (2, "Closed"))
    return Catalog(
        ("can0",),
        tuple(
            MessageDefinition(
                "can0",
                number + 1,
                f"MESSAGE_{number}",
                8,
                tuple(
                    SignalDefinition(
                        f"SIGNAL_{number}_{place}",
                        8 * place,
                        8,
                        scale=0.5,
                        offset=-40,
                        unit="km/h",
                        minimum=-40.0,
                        maximum=87.5,
                        choices=states if not place else (),
                    )
                    for place in range(8)
                ),
            )
            for number in range(100)
        ),
    )


def ordinary_batch(catalog: Catalog) -> bytes:
    """Ten seconds of its messages, each every 25 ms, and noise in them."""
    data = np.random.default_rng(1).integers(0, 256, (40_000, 8), np.uint8)
    time_ns = 1_700_000_000_000_000_000 + 250_000 * np.arange(40_000)
    ids = np.arange(40_000, dtype=np.uint32) % 100 + 1
    zeros = np.zeros(40_000, np.uint8)
    frames = FrameBlock(time_ns, zeros, ids, zeros + np.uint8(8), zeros, data)
    signals = Decoder(Plan(catalog.buses, catalog.messages)).decode(frames).signals
    header = Header(BatchId("car-1", "ordinary", 0), catalog.hash, 1_000_000, int(time_ns[0]), int(time_ns[-1]), 40_000)
    return encode_batch(header, signals, catalog.messages, 3)


def cost_s(read: Callable[[], object]) -> float:
    """Processor time of reading or refusing something."""
    begun = time.process_time()
    with suppress(BatchError):
        read()
    return time.process_time() - begun


def peak_bytes() -> int:
    """Of this process' memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def read(kind: str, payload: bytes) -> str:
    """What came of it: "taken", or why not."""
    try:
        if kind == "batch":
            decode_batch(payload)
            decode_batch(payload, CATALOG)
        else:
            decode_catalog(payload)
    except BatchError as error:
        return str(error)
    return "taken"


def main(folder: Path) -> None:
    """Read each file in a process of its own, with only so much room; the first word of a file's name is its kind."""
    for file in sorted(folder.iterdir()):
        child = os.fork()
        if not child:
            payload = file.read_bytes()
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + ROOM_BYTES, used + ROOM_BYTES))
            print(f"{file.name}: {read(file.name.partition(' ')[0], payload)}", flush=True)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status:
            print(f"{file.name}: died ({status})", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
