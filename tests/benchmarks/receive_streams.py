# SPDX-License-Identifier: Apache-2.0
"""How many batches a second a receiver stores, of how many streams, each with a day of batches behind it.

    python tests/benchmarks/receive_streams.py --streams 100000 --behind 8640 --batches 20000 [--out DIR]

A ledger is made as a day would have left it, through the ledger itself; then batches of all streams in random order are
accepted in groups as the receiving loop makes them, each batch by itself for comparison, durable each time. The folder
is made in --out, which says which disk counts: else where temporary files go. A day of 100,000 streams takes 6 GB.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import zstandard

from agent.batch import batch_pb2
from agent.receiver.batch_receiver import Arrival, BatchReceiver, Verdict
from agent.receiver.gaps import SequenceRange
from agent.receiver.ledger import BLOCK, DIGEST_BYTES, LEDGER, Ledger
from agent.receiver.rebuilding import open_ledger
from agent.receiver.receive_loop import GROUP_MAX
from tests.support.samples import MS, START, batch, steer

AT_ONCE = 1000
STREAM = "normal-0123456789ab"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=100_000)
    parser.add_argument("--behind", type=int, default=8640, help="batches that each stream has behind it")
    parser.add_argument("--batches", type=int, default=20_000)
    parser.add_argument("--group", type=int, nargs="*", default=[GROUP_MAX, 32, 1])
    parser.add_argument("--frames", type=int, default=2000, help="of a batch")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.out, prefix="receive-") as folder:
        out = Path(folder)
        begun = time.perf_counter()
        fill(out, args.streams, args.behind)
        size = (out / LEDGER).stat().st_size
        print(f"made in {time.perf_counter() - begun:.0f} s: {size >> 20} MB of ledger, {args.streams} streams")
        begun = time.perf_counter()
        receiver = BatchReceiver(out)
        print(f"opened and checked in {time.perf_counter() - begun:.1f} s")
        made = head_of(batch(0, [steer(START + row * 5 * MS, row % 70, row % 9) for row in range(args.frames)]))
        order = random.Random(1).sample(range(args.streams), args.streams)
        for number, group in enumerate(args.group):
            batches = args.batches if group > 1 else args.batches // 10
            measure(receiver, made, order, args.behind + number, group, batches)
        print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MB")
        begun = time.perf_counter()
        gaps = len(receiver.report())
        print(f"report: {gaps} gaps in {time.perf_counter() - begun:.1f} s")


def head_of(payload: bytes) -> batch_pb2.Batch:
    return batch_pb2.Batch.FromString(zstandard.ZstdDecompressor().decompressobj().decompress(payload))


def fill(out: Path, streams: int, behind: int) -> None:
    """As if each had received so many batches."""
    ledger = open_ledger(out)
    for begin in range(0, streams, AT_ONCE):
        with ledger.group():
            for number in range(begin, min(begin + AT_ONCE, streams)):
                fill_stream(ledger, number, behind)
                (out / f"car-{number:06d}" / STREAM).mkdir(parents=True)
    ledger.close()


def fill_stream(ledger: Ledger, number: int, behind: int) -> None:
    stream = ledger.stream(f"car-{number:06d}", STREAM)
    ledger.add(stream, SequenceRange(0, behind - 1, START, START + behind))
    for block in range(-(-behind // BLOCK)):
        ledger.add_digests(stream, block, os.urandom(min(BLOCK, behind - block * BLOCK) * DIGEST_BYTES))


def measure(
    receiver: BatchReceiver, made: batch_pb2.Batch, order: list[int], behind: int, group: int, batches: int
) -> None:
    taken = spent = worked = 0.0
    chosen = order[:batches]
    compressor = zstandard.ZstdCompressor(level=3, write_checksum=True)
    for begin in range(0, len(chosen), group):
        payloads = []
        for number in chosen[begin : begin + group]:
            made.vehicle, made.stream, made.sequence = f"car-{number:06d}", STREAM, behind
            made.pool0 = os.urandom(4000)  # a batch of some kilobytes, and none like another
            payloads.append(Arrival(compressor.compress(made.SerializeToString()), made.vehicle))
        begun, busy = time.perf_counter(), time.process_time()
        accepted = receiver.accept_some(payloads)
        spent += time.perf_counter() - begun
        worked += time.process_time() - busy
        assert all(each.verdict is Verdict.BATCH for each in accepted)
        taken += len(accepted)
    rate = f"{taken / spent:,.0f} batches/s of {payloads[0].size_bytes} bytes"
    print(f"groups of {group}: {rate}, {worked / taken * 1e6:.0f} µs of a processor each", flush=True)


if __name__ == "__main__":
    main()
