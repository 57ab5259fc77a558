# SPDX-License-Identifier: Apache-2.0
"""The car around the unit: the other node of its buses, which sends counted frames, and its end in the tests.

`python -m tests.headunit.box.car LINE` runs in the machine and sends the frames of `agent/traffic.py`, or ones of
noise, which no batch makes smaller. The line to the host says what:

    host ─► machine   "rate HZ"       frames/s from now on, evenly on both buses
                      "noise HZ"      frames/s of noise from now on
                      "burst COUNT"   so many as fast as they go
                      "from NUMBER"   the number of the next frame
                      "mark TOKEN"    when all frames sent so far have been told, tell this
    machine ─► host   records of 16 bytes: number, kernel's time in ns
                      time 0: not sent, its interface is down or missing;  number -1: the mark

It hears its own frames, so each is told with the time that every listener gets. The kernel may take its time to deliver
them: a mark waits for those that are on their way, up to `UNDERWAY_S`, after which they count as not sent. Of what was
sent in the moment before the power was cut nobody knows here: those numbers are `UNKNOWN`, and not used again.
"""

from __future__ import annotations

import os
import select
import sys
import threading
import time
import tty
from typing import TYPE_CHECKING

import numpy as np

from tests.headunit.agent import traffic
from tests.headunit.agent.traffic import BURST_FRAMES_MAX, BUSES, Kind, Node, kind
from tests.support.feeder import payload

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from numpy.typing import NDArray

FRAMES_MAX = 4_000_000
NOT_SENT, UNKNOWN = -1, -2
UNKNOWN_MAX = 10_000
ANSWER_S = 120.0
TICK_S, LATE_S = 0.05, 0.1
UNDERWAY_S = 2.0
RECORD = np.dtype([("number", "<i8"), ("time_ns", "<i8")])
_NOISE = np.random.default_rng(20).bytes(1 << 20)


class Noise(Kind):
    """Frames whose bytes nobody can foretell, but for the first eight."""

    def payload(self, number: int) -> bytes:
        at = number * 61 % (len(_NOISE) - 56)
        return payload(number) + _NOISE[at : at + 56]


NOISE = Noise("powertrain", 0x7FF, "NOISE", 64, fd=True)
NOISE_SIGNALS = 9


def database(bus: str) -> str:
    """The DBC file of one bus."""
    text = traffic.database(bus)
    if bus == NOISE.bus:
        text += f"""
BO_ {NOISE.can_id} {NOISE.name}: {NOISE.length} CAR
 SG_ COUNT : 0|32@1+ (1,0) [0|0] "" CAR
 SG_ VALUE : 32|32@1+ (1,0) [0|0] "" CAR
"""
        text += "".join(f' SG_ NOISE{word} : {64 * word}|64@1+ (1,0) [0|0] "" CAR\n' for word in range(1, 8))
    return text


class Car:
    """The host's end.

    times   by number: 0 for what was not told of yet, `NOT_SENT`, `UNKNOWN`, or the kernel's time in ns
    noise   by number: whether it is one of noise
    fed     how many numbers have been used
    """

    def __init__(self) -> None:
        self.times = np.zeros(FRAMES_MAX, np.int64)
        self.noise = np.zeros(FRAMES_MAX, np.bool_)
        self.fed = 0
        self._noise_since: int | None = None
        self._host: socket.socket | None = None
        self._marks = 0
        self._told = threading.Condition()
        self._mark = 0

    def listen(self, host: socket.socket) -> None:
        """To a new machine, whose other end of the line is this."""
        self._host = host
        threading.Thread(target=self._listen, args=(host,), daemon=True).start()

    def rate(self, frames_hz: float) -> None:
        """From now on, evenly on both buses."""
        if self._noise_since is not None:
            self._say("rate 0")
            self.noise[self._noise_since : self.told(ANSWER_S)] = True
            self._noise_since = None
        self._say(f"rate {frames_hz}")

    def noise_rate(self, frames_hz: float) -> None:
        """From now on, of noise."""
        self.rate(0)
        self._noise_since = self.told(ANSWER_S)
        self._say(f"noise {frames_hz}")

    def burst(self, frames: int) -> None:
        """So many at once, without a pause."""
        self._say(f"burst {frames}")

    def go_on(self) -> None:
        """After a boot: no number is used again."""
        self.times[self.fed : self.fed + UNKNOWN_MAX] = UNKNOWN
        self.fed += UNKNOWN_MAX
        self._say(f"from {self.fed}")

    def told(self, timeout_s: float = ANSWER_S) -> int:
        """All frames sent so far are in `times` on return; how many there are."""
        self._marks += 1
        token = self._marks
        self._say(f"mark {token}")
        with self._told:
            if not self._told.wait_for(lambda: self._mark >= token, timeout_s):
                raise TimeoutError(f"the car says nothing within {timeout_s:g} s")
            return self.fed

    def sent(self, begin: int, end: int) -> NDArray[np.int64]:
        """The numbers among these that were really on a bus."""
        return np.flatnonzero(self.times[begin:end] > 0) + begin

    def _say(self, words: str) -> None:
        assert self._host is not None
        self._host.sendall(f"{words}\n".encode())

    def _listen(self, host: socket.socket) -> None:
        held = b""
        while received := receive(host):
            held += received
            whole = len(held) // RECORD.itemsize * RECORD.itemsize
            records, held = np.frombuffer(held[:whole], RECORD), held[whole:]
            with self._told:
                self._note(records)
                self._told.notify_all()

    def _note(self, records: NDArray[np.void]) -> None:
        marks = records[records["number"] < 0]
        frames = records[records["number"] >= 0]
        if len(frames):
            times = np.where(frames["time_ns"] == 0, NOT_SENT, frames["time_ns"])
            self.times[frames["number"]] = times
            self.fed = max(self.fed, int(frames["number"].max()) + 1)
        if len(marks):
            self._mark = int(marks["time_ns"].max())


def receive(host: socket.socket) -> bytes:
    """What came over a line; nothing once either end is closed."""
    try:
        return host.recv(1 << 16)
    except OSError:
        return b""


class Driver:
    """What runs in the machine."""

    def __init__(self, line: int) -> None:
        self._line = line
        self._nodes = {bus: Node(interface) for bus, interface in BUSES.items()}
        self._orders = b""
        self._number = 0
        self._underway: set[int] = set()  # sent, and not heard yet
        self._noise = False
        self._pace(0.0)

    def run(self) -> None:
        """For ever."""
        while True:
            if select.select([self._line], [], [], TICK_S if self._rate else None)[0]:
                *orders, self._orders = (self._orders + os.read(self._line, 4096)).split(b"\n")
                for order in orders:
                    self._obey(order.decode())
            due = self._since + int((time.monotonic() - self._begun) * self._rate)
            self._send(min(due, self._number + int(max(BURST_FRAMES_MAX, self._rate * LATE_S))))
            if due > self._number:  # after a pause it makes no burst of it
                self._pace(self._rate)

    def _obey(self, order: str) -> None:
        verb, _, value = order.partition(" ")
        if verb in ("rate", "noise"):
            self._noise = verb == "noise"
            self._pace(float(value))
        elif verb == "from":
            self._number = int(value)
            self._pace(self._rate)
        elif verb == "burst":
            self._send(self._number + int(value))
            self._pace(self._rate)
        elif verb == "mark":
            self._arrive()
            self._tell([(-1, int(value))])

    def _pace(self, rate: float) -> None:
        """So fast from here on."""
        self._begun, self._since, self._rate = time.monotonic(), self._number, rate

    def _send(self, end: int) -> None:
        while self._number < end:
            numbers = range(self._number, min(end, self._number + BURST_FRAMES_MAX))
            frames = [(NOISE if self._noise else kind(number), number) for number in numbers]
            for bus, node in self._nodes.items():
                node.send([frame for frame in frames if frame[0].bus == bus])
            self._number = numbers.stop
            self._hear(numbers)

    def _hear(self, numbers: Sequence[int]) -> None:
        """Tell what was on the buses, and what of these frames was not."""
        heard = [pair for node in self._nodes.values() for pair in node.heard()]
        known = {number for number, _ in heard}
        self._tell([*((number, 0) for number in numbers if number not in known), *heard])
        self._underway = (self._underway | set(numbers)) - known

    def _arrive(self) -> None:
        """Nothing that was sent is on its way any more, on return."""
        given_up = time.monotonic() + UNDERWAY_S
        self._hear(())
        while self._underway and time.monotonic() < given_up:
            time.sleep(TICK_S / 10)
            self._hear(())
        self._underway.clear()

    def _tell(self, records: Sequence[tuple[int, int]]) -> None:
        content = np.array(records, RECORD).tobytes()
        while content:
            content = content[os.write(self._line, content) :]


def main(line: str) -> None:
    descriptor = os.open(line, os.O_RDWR | os.O_NOCTTY)
    tty.setraw(descriptor)
    Driver(descriptor).run()


if __name__ == "__main__":
    main(sys.argv[1])
