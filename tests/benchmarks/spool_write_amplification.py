# SPDX-License-Identifier: Apache-2.0
"""What durable storage of one batch costs the flash: this spool, SQLite (WAL, FULL) and one file a batch, in one run.

    python tests/benchmarks/spool_write_amplification.py [--directory DIR] [--megabytes 8] [--json]

Bytes per byte of payload: `asked` of the file system by the spool itself; `process` as the kernel accounts to the
process (/proc/self/io: the pages made dirty; on kernels with large folios an overwrite in place counts the whole
folio, up to 1 MiB, although one block is written); `device` as the block device counts (/proc/diskstats: everything,
the file system's journal and other processes too). For a quiet device, as root:

    truncate -s 256M disk.img; mkfs.ext4 -q disk.img; mount -o loop disk.img /mnt; … --directory /mnt

The spool is measured while it lives, each batch acknowledged after the next one, after its first segments were made.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sqlite3
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[2]))

from agent.model import SealedBatch
from agent.spool.store import Spool, SpoolOptions

if TYPE_CHECKING:
    from collections.abc import Callable


def process_bytes() -> int:
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields["write_bytes"])


def device_bytes(directory: Path) -> int:
    device = directory.stat().st_dev
    for line in Path("/proc/diskstats").read_text().splitlines():
        fields = line.split()
        if (int(fields[0]), int(fields[1])) == (os.major(device), os.minor(device)):
            return int(fields[9]) * 512
    return 0


def measured(directory: Path, payloads: list[bytes], store: Callable[[int, bytes], None]) -> dict[str, float]:
    os.sync()
    process, device, began = process_bytes(), device_bytes(directory), time.perf_counter()
    for number, payload in enumerate(payloads):
        store(number, payload)
    seconds = time.perf_counter() - began
    os.sync()
    total = sum(map(len, payloads))
    return {
        "process": round((process_bytes() - process) / total, 2),
        "device": round((device_bytes(directory) - device) / total, 2),
        "ms_per_batch": round(seconds * 1000 / len(payloads), 2),
    }


def by_spool(directory: Path, payloads: list[bytes]) -> dict[str, float]:
    spool = Spool.open(directory / "spool", SpoolOptions(64 << 20))

    def put(_: int, payload: bytes) -> None:
        spool.append(SealedBatch(payload, catalog="", begin_ns=0, end_ns=0, frames=0))
        spool.acknowledge(spool.next_sequence - 2)

    size = len(payloads[0])
    for _ in range(2 * (4 << 20) // max(4096, size) + 8):
        put(0, bytes(size))
    before = spool.status()
    result = measured(directory, payloads, put)
    after = spool.status()
    total = sum(map(len, payloads))
    result["asked"] = round((after.bytes_written - before.bytes_written) / total, 2)
    result["syncs_per_batch"] = round((after.syncs - before.syncs) / len(payloads), 3)
    spool.close()
    return result


def by_sqlite(directory: Path, payloads: list[bytes]) -> dict[str, float]:
    base = sqlite3.connect(directory / "base.sqlite", isolation_level=None)
    base.execute("PRAGMA journal_mode=WAL")
    base.execute("PRAGMA synchronous=FULL")
    base.execute("CREATE TABLE batch (sequence INTEGER PRIMARY KEY, payload BLOB)")

    def put(number: int, payload: bytes) -> None:
        base.execute("INSERT INTO batch VALUES (?, ?)", (number, payload))
        base.execute("DELETE FROM batch WHERE sequence = ?", (number - 1,))

    result = measured(directory, payloads, put)
    base.close()
    return result


def by_files(directory: Path, payloads: list[bytes]) -> dict[str, float]:
    folder = os.open(directory, os.O_RDONLY)

    def put(number: int, payload: bytes) -> None:
        fresh = directory / f"{number}.new"
        file = os.open(fresh, os.O_WRONLY | os.O_CREAT)
        os.write(file, payload)
        os.fsync(file)
        os.close(file)
        fresh.rename(directory / f"{number}.batch")
        os.fsync(folder)
        if number:
            (directory / f"{number - 1}.batch").unlink()

    result = measured(directory, payloads, put)
    os.close(folder)
    return result


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--directory", type=Path, default=Path.cwd())
    arguments.add_argument("--megabytes", type=float, default=8)
    arguments.add_argument("--json", action="store_true")
    chosen = arguments.parse_args()
    results: dict[str, dict[str, dict[str, float]]] = {}
    for size in (2000, 20_000):
        chance = random.Random(size)
        payloads = [chance.randbytes(size) for _ in range(int(chosen.megabytes * 1e6 / size))]
        for name, store in (("spool", by_spool), ("sqlite", by_sqlite), ("files", by_files)):
            with tempfile.TemporaryDirectory(dir=chosen.directory) as home:
                results.setdefault(str(size), {})[name] = store(Path(home), payloads)
    if chosen.json:
        print(json.dumps(results))
        return
    for size_name, rows in results.items():
        for name, row in rows.items():
            print(f"{size_name:>6} bytes  {name:7}", "  ".join(f"{key} {value}" for key, value in row.items()))


if __name__ == "__main__":
    main()
