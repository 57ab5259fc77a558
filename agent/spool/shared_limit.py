# SPDX-License-Identifier: Apache-2.0
"""The room that the spools of a unit share: one limit over all, and who gives way when it is full.

Promise: the segment files of all tenants together stay within the layout. A tenant that needs room gets the spare
segments of the others first, then the oldest segment of the tenant of the lowest priority that has any, be it its
own; never one of a tenant of a higher priority than itself.

Limits: one thread; the tenants' directories lie on one file system.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from agent.spool import retention

if TYPE_CHECKING:
    from agent.spool.retention import Layout


class LimitedSpool(Protocol):
    """A spool's segments."""

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Number and bytes of each segment that is not a spare."""

    @property
    def has_spare(self) -> bool:
        """Whether an empty segment waits to be used again."""

    @property
    def used_bytes(self) -> int:
        """Bytes in segment files, spares included."""

    def evict_oldest(self) -> None:
        """Give up the records of the oldest segment, which becomes a spare or goes."""

    def discard_spares(self) -> bool:
        """Delete empty segments; whether there were any."""


class SharedLimit:
    """Made once for all spools under one limit."""

    def __init__(self, layout: Layout, min_free_bytes: int = 0) -> None:
        self.layout = layout
        self.min_free_bytes = min_free_bytes
        self._tenants: list[tuple[int, LimitedSpool]] = []

    def let(self, tenant: LimitedSpool, priority: int) -> None:
        """Take in a tenant; the lowest priority gives way first."""
        self._tenants.append((priority, tenant))
        self._tenants.sort(key=lambda entry: entry[0])

    @property
    def used_bytes(self) -> int:
        """Bytes in all segment files."""
        return sum(tenant.used_bytes for _, tenant in self._tenants)

    def can_give_way(self, asking: LimitedSpool) -> bool:
        """Whether anything could go for this tenant."""
        return any(other.has_spare for other in self._others(asking)) or self._victim(asking) is not None

    def give_way(self, asking: LimitedSpool) -> None:
        """Let go of what `can_give_way`: spares of others, else one segment."""
        if any([other.discard_spares() for other in self._others(asking)]):  # noqa: C419 - all of them
            return
        victim = self._victim(asking)
        assert victim is not None
        victim.evict_oldest()
        if victim is not asking:
            victim.discard_spares()

    def trim(self) -> None:
        """Evict what exceeds the limit, which may be smaller than when the segments were made."""
        for _, tenant in self._tenants:
            over = self.used_bytes - self.layout.segments_bytes
            kept = sum(size for _, size in tenant.sizes) - over
            gone = retention.excess(tenant.sizes, max(0, kept)) if over > 0 else ()
            for _ in gone:
                tenant.evict_oldest()
            if gone:
                tenant.discard_spares()

    def _others(self, asking: LimitedSpool) -> list[LimitedSpool]:
        return [tenant for _, tenant in self._tenants if tenant is not asking]

    def _victim(self, asking: LimitedSpool) -> LimitedSpool | None:
        for _, tenant in self._tenants:
            if tenant.sizes:
                return tenant
            if tenant is asking:
                break
        return None
