# SPDX-License-Identifier: Apache-2.0
"""What is on the two buses: counted frames, 11 and 29 bit, classic and FD, and a process that sends them.

`python -m tests.headunit.agent.traffic FILE RATE` sends frame 0, 1, 2, … until SIGTERM. Frame n is of kind
n modulo the number of kinds and carries n. Element n of FILE, int64, becomes the kernel's time of it, ns; or
`NOT_SENT` where its interface was down or missing.
"""

from __future__ import annotations

import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.faults.feeder import FRAMES_MAX, payload, value
from tests.headunit.vcan.bus import EXTENDED, Bus

TICK_S = 0.005
CATCH_UP_FRAMES_MAX = 50
RETRY_S = 0.05
NOT_SENT = -1
BUSES = {"powertrain": "vcan0", "chassis": "vcan1"}
_BRS = 0x01


@dataclass(frozen=True)
class Kind:
    """One message. The first eight bytes are two signals, the last four one more where there are more bytes."""

    bus: str
    can_id: int
    name: str
    length: int = 8
    fd: bool = False

    def payload(self, number: int) -> bytes:
        return (payload(number) * 8)[: self.length]

    def line(self, number: int) -> dict[str, object]:
        """What the export says of frame `number`, but for the time."""
        signals: dict[str, float] = {"COUNT": number, "VALUE": value(number) * 0.5 - 7}
        if self.length > 8:
            signals["LAST"] = int.from_bytes(self.payload(number)[-4:], "big")
        can_id = self.can_id & ~EXTENDED
        return {"bus": self.bus, "id": can_id, "message": self.name, "signals": signals}


KINDS = (
    Kind("powertrain", 0x100, "ENGINE"),
    Kind("chassis", 0x100, "BRAKES"),
    Kind("powertrain", 0x100 | EXTENDED, "GEARBOX"),
    Kind("chassis", 0x2F0, "WHEELS", 64, fd=True),
    Kind("powertrain", 0x7E8, "DIAGNOSIS"),
    Kind("chassis", 0x18DA_F101 | EXTENDED, "STEERING", 12, fd=True),
)


def kind(number: int) -> Kind:
    """Of frame `number`."""
    return KINDS[number % len(KINDS)]


def database(bus: str) -> str:
    """The DBC file of one bus."""
    lines = ['VERSION ""', "NS_ :", "BS_:", "BU_: CAR"]
    for one in KINDS:
        if one.bus == bus:
            lines += [
                f"BO_ {one.can_id} {one.name}: {one.length} CAR",
                ' SG_ COUNT : 0|32@1+ (1,0) [0|0] "" CAR',
                ' SG_ VALUE : 32|32@1+ (0.5,-7) [0|0] "" CAR',
            ]
            lines += [f' SG_ LAST : {one.length * 8 - 25}|32@0+ (1,0) [0|0] "" CAR'] if one.length > 8 else []
            lines += [""]
    return "\n".join(lines)


class Feeder:
    """The other node of both buses."""

    def __init__(self) -> None:
        self._buses = {name: Bus(interface) for name, interface in BUSES.items()}
        self._retry_s = dict.fromkeys(BUSES, 0.0)

    def send(self, number: int) -> int:
        """Frame `number`; the kernel's time of it, or `NOT_SENT`."""
        one = kind(number)
        bus = self._buses[one.bus]
        if time.monotonic() < self._retry_s[one.bus]:
            return NOT_SENT
        try:
            if one.fd:
                return bus.send_fd(one.can_id, one.payload(number), _BRS)
            return bus.send(one.can_id, one.payload(number))
        except OSError:
            bus.close()
            self._retry_s[one.bus] = time.monotonic() + RETRY_S
            return NOT_SENT


def main(file: Path, rate: float) -> None:
    times = np.memmap(file, np.int64, "w+", shape=(FRAMES_MAX,))
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopping.append(number))
    feeder = Feeder()
    begun, number = time.monotonic(), 0
    while not stopping:
        due = int((time.monotonic() - begun) * rate)
        if due > number + CATCH_UP_FRAMES_MAX:  # after a pause it makes no burst of it
            due = number + CATCH_UP_FRAMES_MAX
            begun = time.monotonic() - due / rate
        while number < due:
            times[number] = feeder.send(number)
            number += 1
        time.sleep(TICK_S)


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
