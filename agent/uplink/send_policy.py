# SPDX-License-Identifier: Apache-2.0
"""How much may be on the way at once, how fast, and what the network allows beside that. Pure, the time passed in.

A window counts publishes and bytes. Lower priorities leave room in it: one publish and a quarter of the bytes for each
step that they are behind. So a batch sealed just now never waits for old ones to get through, nor one of a high
priority for the backlog of another. One batch may always go, however large.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class SendPolicy(Protocol):
    """Answers at once; its answers change as the network does. `critical`: whether the batch's priority is that."""

    def backlog_rate(self, *, critical: bool) -> float | None:
        """Bytes a second for a priority's backlog; None: as fast as it goes."""

    def wait_s(self, *, critical: bool) -> float:
        """Seconds after which to ask again whether a batch of a priority may go; 0: it may go now."""

    def spend(self, payload_bytes: int, *, critical: bool) -> None:
        """A batch or a catalog goes."""


class Unlimited:
    """Nothing is known of the network, or nothing has to be heeded."""

    def backlog_rate(self, *, critical: bool) -> float | None:  # noqa: ARG002
        """As fast as it goes."""
        return None

    def wait_s(self, *, critical: bool) -> float:  # noqa: ARG002
        """At any time."""
        return 0.0

    def spend(self, payload_bytes: int, *, critical: bool) -> None:
        """Nobody counts."""


UNLIMITED = Unlimited()


@dataclass(slots=True)
class Window:
    """What is on the way: `batches` publishes with `size_bytes` of payload."""

    batches_max: int
    bytes_max: int
    batches: int = 0
    size_bytes: int = 0

    def fits(self, size_bytes: int, *, behind: int) -> bool:
        """May a batch of this size go now? `behind`: what goes before it, in steps; 0: nothing."""
        if self.batches == 0:
            return True
        spare = min(behind, self.batches_max - 1)
        spare_bytes = self.bytes_max * min(spare, 3) // 4
        return self.batches < self.batches_max - spare and self.size_bytes + size_bytes <= self.bytes_max - spare_bytes

    def add(self, size_bytes: int) -> None:
        """A batch goes."""
        self.batches += 1
        self.size_bytes += size_bytes

    def remove(self, size_bytes: int) -> None:
        """It has been answered, or its link is lost."""
        self.batches -= 1
        self.size_bytes -= size_bytes


@dataclass(slots=True)
class RateLimit:
    """Spreads messages to `bytes_per_s` and `messages_per_s`; None sends as fast as the window lets it."""

    bytes_per_s: float | None
    messages_per_s: float | None = None
    free_at: float = 0.0

    def wait_s(self, now: float) -> float:
        """Seconds until the next batch may go."""
        return max(0.0, self.free_at - now) if self.bytes_per_s or self.messages_per_s else 0.0

    def spend(self, now: float, size_bytes: int) -> None:
        """A batch goes; time that was not used is not saved up."""
        by_size = size_bytes / self.bytes_per_s if self.bytes_per_s else 0.0
        by_number = 1 / self.messages_per_s if self.messages_per_s else 0.0
        self.free_at = max(now, self.free_at) + max(by_size, by_number)
