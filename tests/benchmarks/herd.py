# SPDX-License-Identifier: Apache-2.0
"""What a broker meets when a region comes back: how many cars try to connect in each second.

    python tests/benchmarks/herd.py [--cars 5000000] [--outage 600] [--accepts 20000] [--spread 30] [--json]

A simulation, in whole seconds and tenths of them, of cars whose broker closes all their connections at once. While the
outage lasts a try fails as unreachable; afterwards the broker accepts so many connections a second and refuses the
others as busy. How long each car waits is the agent's own `Backoff`: for each number of failures it is asked at 257
rolls of the dice, and the cars' own rolls are read off between them. Beside it the usual way, pauses that double up to
the same ceiling without jitter.

Printed: tries in the busiest second of the outage's beginning and after its end, the time until 99 % of the cars are
connected again, and the share of the broker's acceptances that was used meanwhile.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from agent.uplink.backoff import Backoff
from agent.uplink.transport import Trouble

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Policy = Callable[[NDArray[np.int8], NDArray[np.bool_], NDArray[np.float64]], NDArray[np.float64]]
    """From failures, whether the last of them was a refusal as busy, and rolls, to the seconds to wait."""

TICK_S = 0.1
ROLLS = np.linspace(0, 1, 257)
FAILURES_MAX = 30
BUSIEST_S = 30
"""The outage's beginning: what cars do that have just lost their link."""
GIVEN_UP_S = 3600
"""Who is not connected so long after the outage is not waited for."""


def agent(base_s: float, maximum_s: float, spread_s: float) -> Policy:
    """The agent's own waits, after a connection that the broker has closed."""
    closed = functools.partial(Backoff, base_s, maximum_s, closed=True, spread_s=spread_s)
    tables = {
        busy: np.array(
            [
                [closed(failures, patient=busy).wait_s(min(roll, 1 - 1e-9)) for roll in ROLLS]
                for failures in range(FAILURES_MAX + 1)
            ]
        )
        for busy in (False, True)
    }
    assert Backoff(base_s, maximum_s).failed(Trouble.BUSY).patient
    last = len(ROLLS) - 1

    def waits(failures: NDArray[np.int8], busy: NDArray[np.bool_], rolls: NDArray[np.float64]) -> NDArray[np.float64]:
        place = rolls * last
        left = place.astype(np.int64)
        share = place - left
        found = np.empty(len(rolls))
        for each in (False, True):
            rows = busy == each
            low, high = (tables[each][failures[rows], left[rows] + more] for more in (0, 1))
            found[rows] = low + (high - low) * share[rows]
        return found

    return waits


def doubling(base_s: float, maximum_s: float) -> Policy:
    """Twice the last pause, up to a ceiling; nothing by chance."""
    return lambda failures, _busy, _rolls: np.minimum(maximum_s, base_s * 2.0 ** (failures - 1.0))


def simulate(cars: int, outage_s: float, accepts: int, policy: Policy, seed: int = 1) -> dict[str, float]:
    """All lose their link at 0; until nearly all have one again."""
    dice = np.random.default_rng(seed)
    failures = np.ones(cars, np.int8)
    busy = np.zeros(cars, np.bool_)
    next_s = policy(failures, busy, dice.random(cars))
    tries, connected, tick = [], 0, 0
    due_at: dict[int, list[NDArray[np.int64]]] = {}  # cars by the tick of their next try
    _file(due_at, (next_s / TICK_S).astype(np.int64), np.arange(cars))
    while connected < 0.99 * cars and tick * TICK_S < outage_s + GIVEN_UP_S:
        due = np.concatenate(due_at.pop(tick, [np.empty(0, np.int64)]))
        tries.append(len(due))
        if len(due):
            over = tick * TICK_S >= outage_s
            if over:
                dice.shuffle(due)
                accepted = min(len(due), round(accepts * TICK_S))
                connected += accepted
                due = due[accepted:]
            failures[due] = np.minimum(failures[due] + 1, FAILURES_MAX)
            busy[due] = over
            waits = policy(failures[due], busy[due], dice.random(len(due)))
            _file(due_at, np.maximum(tick + 1, tick + (waits / TICK_S).astype(np.int64)), due)
        tick += 1
    in_second = np.array(tries + [0] * (-len(tries) % 10)).reshape(-1, 10).sum(axis=1)
    end = int(outage_s)
    after = in_second[end:]
    return {
        "tries_per_s_at_once": int(in_second[: min(end, BUSIEST_S)].max(initial=0)),
        "tries_per_s_in_the_outage": round(float(in_second[end // 2 : end].mean())) if end > 1 else 0,
        "tries_per_s_max_after_it": int(after.max(initial=0)),
        "connected_after_s": round(tick * TICK_S - outage_s, 1),
        "acceptances_used": round(connected / max(1.0, accepts * (tick * TICK_S - outage_s)), 2),
    }


def _file(due_at: dict[int, list[NDArray[np.int64]]], ticks: NDArray[np.int64], cars: NDArray[np.int64]) -> None:
    order = np.argsort(ticks, kind="stable")
    ticks, cars = ticks[order], cars[order]
    for part in np.split(np.arange(len(ticks)), np.flatnonzero(np.diff(ticks)) + 1):
        if len(part):
            due_at.setdefault(int(ticks[part[0]]), []).append(cars[part])


def main() -> None:
    """Simulate and print."""
    parser = argparse.ArgumentParser(description="five million cars that come back at once")
    parser.add_argument("--cars", type=int, default=5_000_000)
    parser.add_argument("--outage", type=float, default=600, help="seconds")
    parser.add_argument("--accepts", type=int, default=20_000, help="connections that the broker accepts in a second")
    parser.add_argument("--base", type=float, default=1.0, help="mqtt.backoff_base, seconds")
    parser.add_argument("--spread", type=float, default=30.0, help="mqtt.backoff_spread, seconds")
    parser.add_argument("--maximum", type=float, default=300.0, help="mqtt.backoff_max, seconds")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    policies = {
        "canferry": agent(arguments.base, arguments.maximum, arguments.spread),
        "doubling, no jitter": doubling(arguments.base, arguments.maximum),
    }
    results = {
        name: simulate(arguments.cars, arguments.outage, arguments.accepts, policy) for name, policy in policies.items()
    }
    if arguments.json:
        print(json.dumps(results))
        return
    for name, result in results.items():
        print(name)
        for key, value in result.items():
            print(f"  {key.replace('_', ' '):<28}{value:>14,}")


if __name__ == "__main__":
    main()
