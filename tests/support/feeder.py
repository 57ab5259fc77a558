# SPDX-License-Identifier: Apache-2.0
"""A bus that lives on its own: `python -m tests.support.feeder GROUP PORT FILE RATE` until it is killed.

Frame n goes out over python-can's udp_multicast with the count n in its first four bytes; element n of FILE, int64,
becomes the time just before, in ns.

Beside it, a witness writes and syncs one page in the same folder again and again: FILE.stalls gets begin and end, ns,
of every turn that took longer than `TURN_S`, because this machine or its disk was held up.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

import numpy as np

from agent.sources.canlib import python_can

IDS = (0x100, 0x101, 0x2F0, 0x7E8)
FRAMES_MAX = 4_000_000
TICK_S = 0.005
TURN_S = 0.05
STALLS_MAX = 100_000


def payload(number: int) -> bytes:
    """What frame `number` carries: the count, and a value that follows from it."""
    return number.to_bytes(4, "little") + value(number).to_bytes(4, "little")


def value(number: int) -> int:
    """Looks like noise and is none."""
    return number * 2_654_435_761 & 0xFFFF_FFFF


def database() -> str:
    """The DBC file of these frames."""
    lines = ['VERSION ""', "NS_ :", "BS_:", "BU_: CAR"]
    for number, can_id in enumerate(IDS):
        lines += [
            f"BO_ {can_id} MESSAGE{number}: 8 CAR",
            ' SG_ COUNT : 0|32@1+ (1,0) [0|0] "" CAR',
            ' SG_ VALUE : 32|32@1+ (1,0) [0|0] "" CAR',
            "",
        ]
    return "\n".join(lines)


def main(group: str, port: int, file: Path, rate: float) -> None:
    can = python_can()
    threading.Thread(target=witness, args=(file.with_suffix(".stalls"),), daemon=True).start()
    times = np.memmap(file, np.int64, "w+", shape=(FRAMES_MAX,))
    bus = can.Bus(interface="udp_multicast", channel=group, port=port, fd=False, ignore_config=True)
    begun, number = time.monotonic(), 0
    while number < FRAMES_MAX:
        due = min(int((time.monotonic() - begun) * rate), number + 50)  # after a pause it makes no burst of it
        if due == number + 50:
            begun = time.monotonic() - due / rate
        while number < due:
            frame = can.Message(
                arbitration_id=IDS[number % len(IDS)], data=payload(number), is_extended_id=False, check=False
            )
            times[number] = time.time_ns()
            bus.send(frame)
            number += 1
        time.sleep(TICK_S)


def witness(file: Path) -> None:
    """Sync one page every 20 ms, for ever."""
    stalls = np.memmap(file, np.int64, "w+", shape=(STALLS_MAX, 2))
    page = os.open(file.with_suffix(".page"), os.O_RDWR | os.O_CREAT, 0o600)
    number = 0
    while number < STALLS_MAX:
        begin_ns = time.time_ns()
        os.pwrite(page, begin_ns.to_bytes(8, "little") * 512, 0)
        os.fdatasync(page)
        time.sleep(0.02)
        end_ns = time.time_ns()
        if end_ns - begin_ns > TURN_S * 1e9:
            stalls[number] = begin_ns, end_ns
            number += 1


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), float(sys.argv[4]))
