# SPDX-License-Identifier: Apache-2.0
"""What the network lets the sender do, beside what the broker does: asked before each batch."""

from __future__ import annotations

from typing import Protocol


class SendPolicy(Protocol):
    """Answers at once; its answers change as the network does. `critical`: whether the batch's class is that."""

    def backlog_rate(self, *, critical: bool) -> float | None:
        """Bytes a second for a class's backlog; None: as fast as it goes."""

    def wait_s(self, *, critical: bool) -> float:
        """Seconds after which to ask again whether a batch of a class may go; 0: it may go now."""

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
