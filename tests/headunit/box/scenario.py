# SPDX-License-Identifier: Apache-2.0
"""One thing that happens to a unit in service, and the account of it afterwards.

A scenario begins with the agent running and the car driving. `settle` ends it: the car stops, all that can arrive has
arrived, and what has not is told; then the figures are printed and what may never be is a failure.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.headunit.box.lines import PATIENCE_S, UnitError

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.receiver.gaps import NamedGap
    from tests.headunit.box.account import Account
    from tests.headunit.box.car import Car
    from tests.headunit.box.headunit import HeadUnit
    from tests.headunit.box.service import Service

RATE_HZ = 200.0
NUDGE_FRAMES = 6
NUDGE_AFTER_S = 3.0
SECTOR_BYTES = 512


@dataclass
class Scenario:
    """From its beginning on: the first frame, the journal's next entry, gaps that had been told before."""

    name: str
    unit: HeadUnit
    service: Service
    account: Account
    figures: dict[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.begin = self.unit.car.told()
        self.since = len(self.unit.log)
        self.account.refresh()
        self._known = self.account.counted()
        self._gaps = set(self.account.gaps())
        self._arrivals = len(self.account.arrivals)
        self._written = self.written_bytes()

    def drive(self, rate_hz: float = RATE_HZ) -> None:
        """Frames come, and one of their batches has arrived, on return."""
        self.unit.car.rate(rate_hz)
        count = self.unit.car.told()
        self.until(lambda: len(self.account.arrived(count, self.unit.car.fed)) > 0, "a batch of the drive")

    def until(
        self, condition: Callable[[], bool], what: str, *, every_s: float = 0.1, patience_s: float = PATIENCE_S
    ) -> None:
        """Wait for something in the cloud."""
        wait_until(
            self.account,
            condition,
            lambda: f"{what} did not come; {self.state()}",
            every_s=every_s,
            patience_s=patience_s,
        )

    def settle(self) -> None:
        """The account is even on return, and printed."""
        self.unit.car.rate(0)
        try:
            wait_until_even(self.unit.car, self.account, self.begin, self._known)
        finally:
            self._report(self.unit.car.told())
        assert not self.account.failures()

    def state(self) -> str:
        """For whoever wonders what is missing."""
        return state(self.unit.car, self.account, self.begin, self._known)

    def new_gaps(self) -> list[NamedGap]:
        """Those that were not named before it began."""
        return [gap for gap in self.account.gaps() if gap not in self._gaps]

    def written_bytes(self) -> int:
        """To the disk, since the machine was booted, its file system's own writes included."""
        self.unit.run("sync --file-system /var/lib/canferry")
        return int(self.unit.run("cat /sys/block/ubda/stat").split()[6]) * SECTOR_BYTES

    def payload_bytes(self) -> int:
        """Of the batches that have arrived since the beginning."""
        return sum(arrival.size_bytes for arrival in self.account.arrivals[self._arrivals :])

    def _report(self, end: int) -> None:
        account, sent = self.account, self.unit.car.sent(self.begin, end)
        arrived, gaps = account.arrived(self.begin, end), self.new_gaps()
        written, payload = self.written_bytes() - self._written, self.payload_bytes()
        lost = account.unaccounted(self.begin, end, self._known)
        figures = {
            "samples in": account.samples(sent),
            "received": account.samples(arrived),
            "frames missing": len(sent) - len(arrived),
            "gaps named": len(gaps),
            "not named": lost,
            "batches": len(account.arrivals) - self._arrivals,
            "bytes to disk": f"{written} for {payload} of payload",
            **self.figures,
        }
        print(f"{self.name}: " + ", ".join(f"{name} {value}" for name, value in figures.items()))
        for gap in gaps:
            print(f"    gap: {gap}")


def wait_until(
    account: Account,
    condition: Callable[[], bool],
    failure: Callable[[], str],
    *,
    every_s: float,
    patience_s: float = PATIENCE_S,
) -> None:
    """Wait for something in the cloud."""
    deadline = time.monotonic() + patience_s
    while not condition():
        if time.monotonic() > deadline:
            raise UnitError(f"within {patience_s:g} s {failure()}")
        time.sleep(every_s)
        account.refresh()


def wait_until_even(car: Car, account: Account, begin: int, known: int = 0) -> None:
    """The car stops, and all that was sent from this frame on has arrived or is told on return."""
    car.rate(0)
    nudged, pause_s = 0.0, NUDGE_AFTER_S

    def even() -> bool:
        nonlocal nudged, pause_s
        if time.monotonic() - nudged > pause_s:  # a gap is told with the next batch: there has to be one
            nudged, pause_s = time.monotonic(), 2 * pause_s  # over a bad link it may be long on its way
            car.burst(NUDGE_FRAMES)
        return account.unaccounted(begin, car.told(), known) == 0 and not account.failures()

    wait_until(account, even, lambda: f"the account is not even: {state(car, account, begin, known)}", every_s=0.2)


def state(car: Car, account: Account, begin: int, known: int) -> str:
    """What is missing, for whoever wonders why."""
    end = car.fed
    times = car.times[account.uninterrupted(begin, end)]
    span = f", outside of interruptions from {times.min()} to {times.max()} ns" if len(times) else ""
    return (
        f"{len(account.missing(begin, end))} frames missing{span}, {account.unaccounted(begin, end, known)} of them "
        f"not told; {account.failures()}; gaps {[str(gap) for gap in account.gaps()[-10:]]}"
    )
