# SPDX-License-Identifier: Apache-2.0
"""Catalogs on their way: the one that a batch names is acknowledged before the batch is published.

Promise: what the broker is marked to have is not sent again before the mark is stale. A catalog that is not on disk,
or damaged there, or that the broker will never take, holds up no batch: that is told, and the batch goes without.
Limits: one at a time, with nothing else in flight: a catalog can be as large as a window. A broker that loses what it
retained gets it again when the mark is stale: sessions are clean ones, so no CONNACK tells of an earlier one, and sent
whenever none does, a catalog would go with each reconnect.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from agent.uplink.transport import Answer, Link, Outcome

if TYPE_CHECKING:
    from agent.model import SpooledBatch
    from agent.uplink.options import SenderOptions
    from agent.uplink.send_policy import RateLimit
    from agent.uplink.sender_state import SenderState, SpoolAccess

log = structlog.get_logger()


class CatalogDelivery:
    """Which catalogs this link's broker has, and how it gets the others. `begin` with each link."""

    def __init__(self, state: SenderState, spools: SpoolAccess, rate_limit: RateLimit) -> None:
        self._catalogs = spools.catalogs
        self._call = spools.call
        self._policy = state.policy
        self._rate_limit = rate_limit
        self._address = state.status.state.broker
        self._settled: set[tuple[str, str]] = set()  # vehicle, catalog

    def begin(self) -> None:
        """A link came up: nothing is known of its broker."""
        self._settled.clear()

    def is_due(self, record: SpooledBatch) -> bool:
        """Whether the catalog that it names has to be looked after first."""
        return bool(record.catalog) and (record.vehicle, record.catalog) not in self._settled

    async def deliver(self, link: Link, record: SpooledBatch, topic: str, options: SenderOptions) -> Answer | None:
        """None where the batch may go; else the answer for which it has to wait."""
        if not self.is_due(record):
            return None
        name = record.catalog
        if not await self._call(self._catalogs.is_sent, self._place(topic), name):
            content = await self._call(self._catalogs.get, name)
            if content is None:
                hint = "batches that name it cannot be read without it: find it, and give it to the receiver"
                log.error("catalog_missing", catalog=name, hint=hint)
            elif (answer := await self._publish(link, name, content, topic, options)) is not None:
                return answer
        self._settled.add((record.vehicle, name))
        return None

    def _place(self, topic: str) -> str:
        """What the broker has on one topic it does not have on another one."""
        return f"{self._address}/{topic}"

    async def _publish(
        self, link: Link, name: str, content: bytes, topic: str, options: SenderOptions
    ) -> Answer | None:
        """Retained where it is the current one, so that whoever comes later finds it."""
        self._rate_limit.spend(asyncio.get_running_loop().time(), len(content))
        self._policy.spend(len(content), critical=False)
        properties = options.properties("catalog", name)
        retain = name == self._catalogs.current
        answer = await link.publish(topic, content, retain=retain, properties=properties)
        if answer.outcome is Outcome.ACCEPTED:
            await self._call(self._catalogs.mark_sent, self._place(topic), name)
            log.info("catalog_acknowledged", catalog=name, size_bytes=len(content))
            return None
        if answer.outcome is Outcome.UNACCEPTABLE:
            hint = "batches go on without it: give the file to the receiver, or raise the broker's limit"
            log.error("catalog_refused", catalog=name, size_bytes=len(content), reason=answer.reason, hint=hint)
            return None
        return answer
