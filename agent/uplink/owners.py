# SPDX-License-Identifier: Apache-2.0
"""Whose batches go over a link: the configured vehicle's, and what was sealed before its id was changed.

A batch bears the id of the vehicle that it was sealed for, and a receiver takes it on that vehicle's topic alone. So it
is published there, whoever the unit is now: nobody has to wait with a new id until the backlog is sent.

Where topics are tied to the credentials, the broker refuses another vehicle's, or closes the link. Such batches are
held back until the process ends: they stay in the spool, and neither hold up others nor cost a connection each. How
many they are, and what to do, is logged once. Known endpoints of that kind (`closes_over`) are not tried.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent.model import SpooledBatch
    from agent.uplink.cursor import BatchQueue, Worker
    from agent.uplink.options import SenderOptions

log = structlog.get_logger()

_HINT = (
    "this client may not publish for that vehicle: allow it in the broker's access rules and restart the agent, or set "
    "vehicle.id back until they are sent; they stay in the spool"
)


class Owners:
    """`held`: the vehicles whose batches have to stay."""

    def __init__(self, options: SenderOptions, queues: Sequence[BatchQueue], call: Worker) -> None:
        self.held: set[str] = set()
        self._told: set[str] = set()
        self._options = options
        self._queues = queues
        self._call = call

    def options_of(self, record: SpooledBatch) -> SenderOptions:
        """The options under which it is published."""
        return replace(self._options, vehicle=record.vehicle) if self.is_foreign(record) else self._options

    def has_to_stay(self, record: SpooledBatch) -> bool:
        """Whether it is of a vehicle that is held back."""
        if self._options.closes_over:
            self.hold(record)
        return record.vehicle in self.held

    def hold(self, record: SpooledBatch) -> bool:
        """Its vehicle's batches are not allowed here; False where that is the configured one, whose are never held."""
        if not self.is_foreign(record):
            return False
        self.held.add(record.vehicle)
        return True

    async def tell(self) -> None:
        """Log once of each vehicle that is held back."""
        for vehicle in self.held - self._told:
            self._told.add(vehicle)
            batches = sum([await self._call(queue.waiting_of, vehicle) for queue in self._queues])
            log.warning("batches_held", vehicle=vehicle, batches=batches, hint=_HINT)

    def is_foreign(self, record: SpooledBatch) -> bool:
        """Whether it was sealed for another vehicle than the configured one."""
        return record.vehicle not in ("", self._options.vehicle)
