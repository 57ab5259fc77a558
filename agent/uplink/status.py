# SPDX-License-Identifier: Apache-2.0
"""What the uplink tells about itself: a snapshot for `canferry status`, and the status topic's retained message."""

from __future__ import annotations

import json
from dataclasses import dataclass

from agent import __version__


@dataclass(frozen=True, slots=True)
class LinkState:
    """The uplink at one moment; the counters grow from the start of the process.

    since_ns                 when the link came up or was lost, wall clock; 0 before the first
    trouble                  why there is no link, or why sending pauses: a `transport.Trouble`; "" where all is well
    last_error               the same in words
    next_try_s               seconds until sending is tried again, as it was decided; 0 where nothing is waited for
    in_flight_…              published and not yet answered
    sent_…                   published, each time counted; bytes of payload
    acknowledged_…           taken by the broker
    refused_batches          set aside: the broker will never take them
    links                    connections that came up
    """

    connected: bool = False
    broker: str = ""
    since_ns: int = 0
    last_error: str = ""
    trouble: str = ""
    next_try_s: float = 0.0
    in_flight_batches: int = 0
    in_flight_bytes: int = 0
    sent_batches: int = 0
    sent_bytes: int = 0
    acknowledged_batches: int = 0
    acknowledged_bytes: int = 0
    refused_batches: int = 0
    links: int = 0


def status_payload(*, online: bool, stream: str) -> bytes:
    """The status topic's message: JSON with online, version and stream. Also the last will, with online false."""
    return json.dumps({"online": online, "version": __version__, "stream": stream}, separators=(",", ":")).encode()
