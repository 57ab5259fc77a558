# SPDX-License-Identifier: Apache-2.0
"""What the cellular network lets the uplink do: signal paces, and never blocks.

While the signal is about to be lost, sending takes the most energy and the most attempts: old batches go at a trickle
then. What was sealed just now, and whatever is critical, goes as ever: it may be the last that is heard.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.cellular.modem import Modem


class CellularAllowance:
    """Asked by the uplink before each batch.

    Args:
        modem: tells how the signal is.
        weak_rate: bytes a second for old batches while it is about to be lost.

    """

    def __init__(self, modem: Modem, weak_rate: float) -> None:
        self._modem = modem
        self._weak_rate = weak_rate

    def backlog_rate(self, *, critical: bool) -> float | None:
        """A trickle while the signal is weak; a critical backlog goes as fast as it can."""
        return self._weak_rate if self._modem.state.weak and not critical else None
