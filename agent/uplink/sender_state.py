# SPDX-License-Identifier: Apache-2.0
"""What the sender and its publisher share: from where is sent, how, and how it stands."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.system.liveness import LivenessDeadline
from agent.uplink.backoff import Backoff
from agent.uplink.status import LinkStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from agent.spool.catalogs import CatalogStore
    from agent.uplink.cursor import BatchQueue, Worker
    from agent.uplink.options import SenderOptions
    from agent.uplink.send_policy import SendPolicy


@dataclass(frozen=True, slots=True)
class SpoolAccess:
    """From where is sent.

    queues     the first with the highest priority
    catalogs   those that batches name
    call       runs what touches the disk, in the worker
    critical   whether each queue's priority is that: the network then allows it more; empty: none is
    fit        is called in the worker with the most bytes that batches are to be sealed to; None: as configured
    cut        is called in the worker to cut one stored batch that is larger anew; whether there may be more
    """

    queues: Sequence[BatchQueue]
    catalogs: CatalogStore
    call: Worker
    critical: Sequence[bool] = ()
    fit: Callable[[int | None], None] = lambda size_bytes: None  # noqa: ARG005
    cut: Callable[[int], bool] = lambda size_bytes: False  # noqa: ARG005


class SenderState:
    """How it stands, for as long as the sender runs.

    options, policy   what was configured, and what the network allows
    roll              the dice, in [0, 1)
    status            what `canferry status` is told
    deadline          extended while the sender or the publisher makes progress
    backoff           of the next try to connect; it starts anew with each acknowledgement
    batch_available   to be set after each append: wakes the publisher
    draining          only what is left is still to be sent, until `drain_by_s` on the loop's clock
    """

    def __init__(self, broker: str, options: SenderOptions, policy: SendPolicy, roll: Callable[[], float]) -> None:
        self.options = options
        self.policy = policy
        self.roll = roll
        self.status = LinkStatus(broker)
        self.deadline = LivenessDeadline("uplink")
        self.backoff = Backoff(
            options.backoff_base_s,
            options.backoff_max_s,
            spread_s=options.backoff_spread_s,
            least_s=options.reconnect_least_s,
        )
        self.batch_available = asyncio.Event()
        self.draining = asyncio.Event()
        self.drain_by_s = math.inf
