# SPDX-License-Identifier: Apache-2.0
"""What the cellular network lets the uplink do: signal paces and never blocks, the data plan holds back.

While the signal is about to be lost, sending takes the most energy and the most attempts: old batches go at a trickle
then. What was sealed just now, and whatever is critical, goes as ever: it may be the last that is heard.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from agent.uplink.cellular.data_plan import DataPlan
    from agent.uplink.cellular.network import ModemState


class Asked(Protocol):
    """Who knows how the unit stands with the network: a modem, or ModemManager."""

    @property
    def state(self) -> ModemState:
        """What was said last."""


class CellularSendPolicy:
    """Asked by the uplink before each batch.

    Args:
        modem: tells how the signal is; None: nobody does.
        weak_rate: bytes a second for old batches while it is about to be lost.
        plan: what may be spent; None: there is no limit.

    """

    def __init__(self, modem: Asked | None, weak_rate: float, plan: DataPlan | None) -> None:
        self._modem = modem
        self._weak_rate = weak_rate
        self._plan = plan

    def backlog_rate(self, *, critical: bool) -> float | None:
        """A trickle while the signal is weak; a critical backlog goes as fast as it can."""
        weak = self._modem is not None and self._modem.state.weak
        return self._weak_rate if weak and not critical else None

    def wait_s(self, *, critical: bool) -> float:
        """What the plan says."""
        return 0.0 if self._plan is None else self._plan.wait_s(critical=critical)

    def spend(self, payload_bytes: int, *, critical: bool) -> None:
        """The plan is told."""
        if self._plan is not None:
            self._plan.spend(payload_bytes, critical=critical)
