# SPDX-License-Identifier: Apache-2.0
"""What a log's traffic costs on this machine: our way and the plain way, measured in one run.

Every result is the median of `REPEATS` passes over the same frames, of processor time, not of the clock: other
processes disturb it less. The frames are those of the log's beginning, at most `frames_max`.

    read     the log file to blocks
    decode   blocks of one second to raw values (`decode_raw`, all that the daemon does of every frame), and each
             column of a batch to physical ones (`batch.physical`), as exports, the report and rules' conditions do
    collect  joining ten blocks of a second
    encode   columns and zstd, in batches of ten seconds, at the configuration's default level
    cantools `decode_message(id, data, decode_choices=False)` for every frame whose id it knows
    json_gzip  one JSON object a frame (as `export --format jsonl` writes it) and gzip level 6 of each ten seconds
    multiplexed  blocks of one second of multiplexed frames alone to raw values, and their plain twin (`plain_twin`)

Bytes and times are per frame that the DBC files know; `us_per_second` is what a second of the traffic costs the
daemon, of each second that has any. A bus of few frames pays by the block, not by the frame: there it tells more.
`streams` tells where a batch's bytes go: what the batch would be without its times, its counters, its checksums (known
by their names), and all other values.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import resource
import statistics
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from agent.batch.codec import Header, encode_batch
from agent.blocks import merge_blocks
from agent.cli.plain_twin import multiplexed_only, plain_twin
from agent.decode.decoder import Decoder
from agent.decode.plan import Plan
from agent.model import EXTENDED, RAW_SIGNALS, BatchId, FrameBlock, SignalBlock, split_group_key
from agent.physical import physical
from agent.sources.logs.cutting import Cutter
from agent.sources.replay import read_log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from agent.config import Config
    from agent.model import MessageDefinition
    from agent.sources.replay import LogReader

REPEATS = 5
BLOCK_NS = 1_000_000_000
BATCH_NS = 10 * BLOCK_NS
_COUNTER = re.compile(r"(?i)(cnt|count|counter|_c[tc]r|alive|rolling|sequence)")
_CHECKSUM = re.compile(r"(?i)(checksum|chksum|_chk|_cs$|crc|_chks)")


@dataclass(frozen=True, slots=True)
class _Work:
    """The log's frames, and what they become."""

    frames: FrameBlock
    blocks: list[FrameBlock]
    decoded: list[list[SignalBlock]]
    batches: list[SignalBlock]
    rows: int


def run(
    log: Path,
    config: Config,
    messages: Sequence[MessageDefinition],
    frames_max: int,
    watched: Callable[[LogReader], Iterator[FrameBlock]] = iter,
) -> dict[str, Any]:
    """All results of one log, ready for JSON. `watched` passes the log's blocks on, and may look at them."""
    buses = {bus.name: index for index, bus in enumerate(config.buses)}
    plan = Plan(list(buses), messages)
    work = _prepare(log, buses, plan, frames_max, watched)
    ours = _our_costs(log, buses, work, plan, config)
    rss_bytes = _rss_bytes()
    theirs = _plain_costs(work, config, plan)
    us = ours["us"] | theirs["us"]
    seconds = len(work.blocks) * BLOCK_NS / 1e9
    per_second = {name: _ratio(ours["passes_us"][name], seconds) for name in ("decode_raw", "collect", "encode")}
    size = ours["bytes"] | theirs["bytes"]
    pipeline_us = us["decode_raw"] + us["collect"] + us["encode"]
    return {
        "frames": len(work.frames),
        "frames_decoded": work.rows,
        "signals_per_frame": _ratio(sum(len(batch.values) for batch in work.batches), work.rows),
        "us_per_frame": us,
        "us_per_second": {
            "decode": per_second["decode_raw"],
            "collect": per_second["collect"],
            "encode": per_second["encode"],
            "all": round(sum(per_second.values()), 4),
        },
        "seconds": seconds,
        "bytes_per_frame": size,
        "ratios": {
            "decode_vs_cantools": _ratio(us["cantools"], us["decode"]),
            "decode_raw_vs_cantools": _ratio(us["cantools"], us["decode_raw"]),
            "pipeline_vs_cantools": _ratio(us["cantools"], pipeline_us),
            "bytes_vs_json": _ratio(size["json"], size["batch"]),
            "bytes_vs_json_gzip": _ratio(size["json_gzip"], size["batch"]),
        },
        "streams": ours["streams"],
        "multiplexed": _multiplexed(work, plan),
        "cantools_refused": theirs["refused"],
        "rss_bytes": rss_bytes,
    }


def _prepare(
    log: Path,
    buses: dict[str, int],
    plan: Plan,
    frames_max: int,
    watched: Callable[[LogReader], Iterator[FrameBlock]],
) -> _Work:
    taken, count = [], 0
    with read_log(log, buses=buses) as blocks:
        for block in watched(blocks):
            taken.append(block.slice(0, frames_max - count))
            count += len(taken[-1])
            if count >= frames_max:
                break
    frames = FrameBlock.concatenate(taken)
    decoder = Decoder(plan)
    pieces = [_cut(batch, BLOCK_NS) for batch in _cut(frames, BATCH_NS)]
    decoded = [[decoder.decode(block).signals for block in batch] for batch in pieces]
    batches = [merge_blocks(batch) for batch in decoded]
    return _Work(frames, [block for batch in pieces for block in batch], decoded, batches, sum(map(len, batches)))


def _cut(frames: FrameBlock, span_ns: int) -> list[FrameBlock]:
    """The frames in spans of log time."""
    if not len(frames):
        return []
    cutter = Cutter(len(frames), span_ns)
    return [*cutter.cut(frames), *([cutter.rest()] if len(cutter.rest()) else [])]


def _our_costs(log: Path, buses: dict[str, int], work: _Work, plan: Plan, config: Config) -> dict[str, Any]:
    decoder = Decoder(plan)

    def read() -> None:
        done = 0
        with read_log(log, buses=buses, quiet=True) as blocks:
            for block in blocks:
                done += len(block)
                if done >= len(work.frames):
                    break

    def decode_raw() -> None:
        for block in work.blocks:
            decoder.decode(block)

    def decode() -> None:
        decode_raw()
        for batch in work.batches:
            _scale(batch, plan)

    def collect() -> None:
        for batch in work.decoded:
            merge_blocks(batch)

    def encode() -> int:
        return sum(len(_encoded(batch, plan, config)) for batch in work.batches)

    passes_us = {function.__name__: _us(function) for function in (read, decode, decode_raw, collect, encode)}
    whole = encode()
    return {
        "us": {name: _ratio(us, work.rows) for name, us in passes_us.items()},
        "passes_us": passes_us,
        "bytes": {"batch": _ratio(whole, work.rows)},
        "streams": {name: _ratio(size, work.rows) for name, size in _streams(work, plan, config, whole).items()},
    }


def _multiplexed(work: _Work, plan: Plan) -> dict[str, Any] | None:
    """What decoding multiplexed frames alone costs, beside plain ones of as many signals; None where there are none."""
    frames = multiplexed_only(work.frames, plan)
    if not len(frames) or not (twin := plain_twin(frames, plan)):
        return None

    def us_per_frame(frames: FrameBlock, plan: Plan) -> float:
        decoder, blocks = Decoder(plan), _cut(frames, BLOCK_NS)

        def decode_raw() -> None:
            for block in blocks:
                decoder.decode(block)

        decode_raw()  # ids and multiplexor values are met
        return _ratio(_us(decode_raw), len(frames))

    ours, plain = us_per_frame(frames, plan), us_per_frame(*twin)
    return {"frames": len(frames), "us_per_frame": ours, "us_per_plain_frame": plain, "ratio": _ratio(ours, plain)}


def _scale(batch: SignalBlock, plan: Plan) -> None:
    """Every value as its physical one, column by column."""
    groups, starts = batch.group_key[batch.column_group].tolist(), batch.column_start.tolist()
    for column, (key, number) in enumerate(zip(groups, batch.column_signal.tolist(), strict=True)):
        message, _, _ = split_group_key(key)
        signals = plan.messages[message].signals if message >= 0 else RAW_SIGNALS
        physical(signals[number], batch.values[starts[column] : starts[column + 1]])


def _encoded(batch: SignalBlock, plan: Plan, config: Config) -> bytes:
    opened_ns, sealed_ns = (int(f(batch.time_ns)) if len(batch) else 0 for f in (np.min, np.max))
    header = Header(
        BatchId(config.vehicle.id, "bench", 0),
        "00" * 16,
        config.batch.time_resolution,
        opened_ns,
        sealed_ns,
        len(batch),
    )
    return encode_batch(header, batch, plan.messages, config.batch.compression_level)


def _streams(work: _Work, plan: Plan, config: Config, whole: int) -> dict[str, int]:
    """What each kind of column adds to the batches: their size, less their size with those columns constant."""

    def without(kind: Callable[[str], bool]) -> int:
        return sum(len(_encoded(_flattened(batch, plan, kind), plan, config)) for batch in work.batches)

    untimed = [replace(batch, time_ns=np.zeros_like(batch.time_ns)) for batch in work.batches]
    times = whole - sum(len(_encoded(batch, plan, config)) for batch in untimed)
    counters = whole - without(lambda name: bool(_COUNTER.search(name)))
    checksums = whole - without(lambda name: bool(_CHECKSUM.search(name)))
    values = whole - without(lambda name: not _COUNTER.search(name) and not _CHECKSUM.search(name))
    return {
        "times": times,
        "values": values,
        "counters": counters,
        "checksums": checksums,
        "structure": whole - times - values - counters - checksums,
    }


def _flattened(batch: SignalBlock, plan: Plan, kind: Callable[[str], bool]) -> SignalBlock:
    """The batch with its columns of a kind at zero."""
    values = batch.values.copy()
    for column in range(len(batch.column_signal)):
        message, _, _ = split_group_key(int(batch.group_key[batch.column_group[column]]))
        if kind(plan.messages[message].signals[batch.column_signal[column]].name):
            values[batch.column_start[column] : batch.column_start[column + 1]] = 0
    return replace(batch, values=values)


def _plain_costs(work: _Work, config: Config, plan: Plan) -> dict[str, Any]:
    """cantools for each frame, then JSON and gzip; where cantools refuses a file even unstrictly, without it."""
    refused: list[str] = []
    calls = _cantools_calls(work, config, plan, refused)

    def cantools_each() -> None:
        for _, _, decode, data in calls:
            decode(data)

    lines = [
        (time_ns, _json_line(time_ns, bus, can_id, name, decode(data)))
        for time_ns, (bus, can_id, name), decode, data in calls
    ]
    spans: dict[int, list[bytes]] = {}
    first_ns = lines[0][0] if lines else 0
    for time_ns, line in lines:
        spans.setdefault((time_ns - first_ns) // BATCH_NS, []).append(line)
    texts = [b"".join(part) for part in spans.values()]
    values = [(meta, decode(data), time_ns) for time_ns, meta, decode, data in calls]

    def json_gzip() -> None:
        joined: dict[int, list[bytes]] = {}
        for (bus, can_id, name), signals, time_ns in values:
            line = _json_line(time_ns, bus, can_id, name, signals)
            joined.setdefault((time_ns - first_ns) // BATCH_NS, []).append(line)
        for part in joined.values():
            gzip.compress(b"".join(part), 6)

    return {
        "refused": refused,
        "us": {
            "cantools": _ratio(_us(cantools_each), len(calls)),
            "json_gzip": _ratio(_us(json_gzip), len(calls)),
        },
        "bytes": {
            "json": _ratio(sum(map(len, texts)), len(calls)),
            "json_gzip": _ratio(sum(len(gzip.compress(text, 6)) for text in texts), len(calls)),
        },
    }


def _json_line(time_ns: int, bus: str, can_id: int, name: str, signals: object) -> bytes:
    frame = {"t": round(time_ns / 1e9, 3), "bus": bus, "id": can_id, "message": name, "signals": signals}
    return json.dumps(frame).encode() + b"\n"


def _cantools_calls(
    work: _Work, config: Config, plan: Plan, refused: list[str]
) -> list[tuple[int, tuple[str, int, str], Any, bytes]]:
    """(time, (bus, id, name), how to decode, data) of every frame that cantools decodes; `refused`: the files that it
    does not load."""
    from agent.sources.canlib import python_can

    python_can()  # before cantools, which would import it with all that it can use
    import cantools

    databases: dict[str, Any] = {}
    for bus in config.buses:
        database = databases[bus.name] = cantools.database.Database(strict=False)
        for path in bus.dbc:
            try:
                database.add_dbc_file(os.fspath(path), encoding="cp1252")
            except Exception:  # noqa: BLE001  whatever a file makes happen there
                refused.append(os.fspath(path))
    groups: dict[tuple[int, int], Any] = {}
    for batch in work.batches:
        for key in batch.group_key.tolist():
            number, bus_index, can_id = split_group_key(key)
            message = plan.messages[number]
            declared = message.can_id & ~EXTENDED
            groups[bus_index, can_id] = (message, _decode_by(databases[message.bus], declared))
    calls = []
    frames = work.frames
    for index in range(len(frames)):
        found = groups.get((int(frames.bus[index]), int(frames.can_id[index])))
        if found is None:
            continue
        message, decode = found
        data = frames.data[index, : frames.length[index]].tobytes()
        try:
            decode(data)
        except Exception:  # noqa: BLE001, S112  cantools raises whatever a frame makes happen
            continue
        meta = (message.bus, int(frames.can_id[index]) & ~EXTENDED, message.name)
        calls.append((int(frames.time_ns[index]), meta, decode, data))
    return calls


def _decode_by(database: Any, frame_id: int) -> Callable[[bytes], Any]:
    return lambda data: database.decode_message(frame_id, data, decode_choices=False)


def _us(function: Callable[[], object]) -> float:
    """A pass, the median of several."""
    passes = []
    for _ in range(REPEATS):
        begun = time.process_time()
        function()
        passes.append(time.process_time() - begun)
    return statistics.median(passes) * 1e6


def _ratio(part: float, whole: float) -> float:
    return round(part / whole, 4) if whole else 0.0


def _rss_bytes() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * resource.getpagesize()
