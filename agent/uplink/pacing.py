# SPDX-License-Identifier: Apache-2.0
"""How much may be on the way at once, and how fast a backlog may go: pure, the time passed in.

A window counts publishes and bytes. What is less urgent leaves room in it: one publish and a quarter of the bytes for
each step that it is behind, so that a batch sealed just now never waits for old ones to get through, nor one of an
urgent class for the backlog of another. One batch may always go, however large.
"""

from __future__ import annotations

from dataclasses import dataclass


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
