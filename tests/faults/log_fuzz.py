# SPDX-License-Identifier: Apache-2.0
"""Reads damaged variants of a log in a process of its own: python -m tests.faults.log_fuzz SAMPLE FOLDER COUNT SEED.

Prints one JSON object: how many ended with frames and how many with an error of one line; what else came of one is a
failure with its number, so that the variant can be made again. The slowest, and the memory that all of it took.
"""

from __future__ import annotations

import json
import random
import resource
import sys
import time
from pathlib import Path

import structlog

from agent.errors import LogFileError
from agent.sources.logs.logfile import read_log

SECONDS_MAX = 5


def damaged(sample: bytes, chance: random.Random) -> bytes:
    """The sample with bits flipped, bytes replaced, pieces cut out, repeated or put elsewhere, or its end torn off."""
    content = bytearray(sample)
    for _ in range(chance.choice((1, 1, 1, 2, 5, 20))):
        at = chance.randrange(max(1, len(content)))
        size = chance.choice((1, 4, 8, 50, 500, 5000))
        piece = content[at : at + size]
        match chance.randrange(7):
            case 0 if content:
                content[at] ^= 1 << chance.randrange(8)
            case 1 if content:
                content[at] = chance.choice((0, 0xFF, chance.randrange(256)))
            case 2:
                del content[at : at + size]
            case 3:
                content[at:at] = piece * chance.choice((1, 1, 3))
            case 4:
                elsewhere = chance.randrange(len(content) + 1)
                content[elsewhere:elsewhere] = piece
            case 5:
                content[at : at + size] = bytes(chance.choice((0, 0xFF, 0x20)) for _ in piece)
            case _ if chance.random() < 0.3:
                del content[at:]
            case _:
                pass
    return bytes(content)


def run(sample: Path, folder: Path, count: int, seed: int) -> dict[str, object]:
    """Read so many variants."""
    content, path = sample.read_bytes(), folder / f"variant{sample.suffix}"
    ended = {"frames": 0, "errors": 0}
    failures: list[str] = []
    slowest_s = 0.0
    for number in range(count):
        path.write_bytes(damaged(content, random.Random(f"{seed} {number}")))
        begun_s = time.monotonic()
        try:
            for block in read_log(path):
                assert len(block)
            ended["frames"] += 1
        except LogFileError as error:
            ended["errors"] += 1
            if "\n" in str(error) or "Error" in str(error) or len(str(error)) > 500:
                failures.append(f"{number}: {error}")
        except Exception as error:  # noqa: BLE001 - that is what is looked for
            failures.append(f"{number}: {type(error).__name__}: {error}")
        slowest_s = max(slowest_s, time.monotonic() - begun_s)
    rss_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return ended | {"failures": failures[:20], "slowest_s": slowest_s, "rss_bytes": rss_bytes}


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    resource.setrlimit(resource.RLIMIT_AS, (1 << 31, 1 << 31))
    _, sample, folder, count, seed = sys.argv
    print(json.dumps(run(Path(sample), Path(folder), int(count), int(seed))))
