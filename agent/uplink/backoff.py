# SPDX-License-Identifier: Apache-2.0
"""How long to wait before the next try: a pure decision, the dice passed in.

Full jitter (uniform between nothing and a ceiling that doubles with each failure): a tower that comes back
must not be met by every car in the same second. Where the broker asked for patience, or a person must act, the
ceiling starts higher and half of it is certain.

    trouble                           ceiling before retry n = 0, 1, …    wait
    busy, unauthorized, taken over    min(maximum, base · 2ⁿ⁺⁴)           (½ + ½ roll) · ceiling
    all others                        min(maximum, base · 2ⁿ)             base/10 + roll · (ceiling - base/10)

A working connection that the other end has closed is another matter than one that the network lost: where a broker
ends, all its cars learn it in one moment, while tunnels and dead spots take them one by one. From such an end until the
next acknowledgement no ceiling is lower than `spread_s`.

Limits: never less than a tenth of `base_s`, so that no roll makes a busy loop, nor less than `least_s`; never more than
`maximum_s`, unless `least_s` is. The rolls are spread over what is left: were short waits made longer instead, a tenth
of a fleet would come in one moment.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from agent.uplink.transport import Trouble

_PATIENT = frozenset({Trouble.BUSY, Trouble.UNAUTHORIZED, Trouble.TAKEN_OVER})
_PATIENCE = 4
_FAILURES = 30
"""2³⁰ seconds are 34 years; counting on would only make large numbers."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """The failures so far; a new value for each step.

    spread_s   over how long a fleet comes back that a broker has closed the connections of; 0: as after any failure
    least_s    an endpoint refuses who connects again sooner
    """

    base_s: float = 1.0
    maximum_s: float = 300.0
    failures: int = 0
    patient: bool = False
    closed: bool = False
    spread_s: float = 0.0
    least_s: float = 0.0

    def failed(self, trouble: Trouble, *, closed: bool = False) -> Backoff:
        """One more failure, of this kind; `closed`: the other end has ended a connection that was up."""
        failures = min(self.failures + 1, _FAILURES)
        return replace(self, failures=failures, patient=trouble in _PATIENT, closed=closed or self.closed)

    def proved(self) -> Backoff:
        """The broker has acknowledged something, or the network is another one: start anew."""
        return replace(self, failures=0, patient=False, closed=False)

    def wait_s(self, roll: float) -> float:
        """Seconds to wait now; `roll` is uniform in [0, 1)."""
        if not self.failures:
            return 0.0
        exponent = self.failures - 1 + (_PATIENCE if self.patient else 0)
        ceiling = max(self.base_s * 2.0**exponent, self.spread_s if self.closed else 0.0)
        ceiling = max(min(self.maximum_s, ceiling), self.least_s)
        floor = ceiling / 2 if self.patient else self.base_s / 10
        floor = min(ceiling, max(floor, self.least_s))
        return floor + roll * (ceiling - floor)
