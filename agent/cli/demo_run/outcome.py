# SPDX-License-Identifier: Apache-2.0
"""What came of the demo: what was sent, counted where it was decoded, against what was received. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Outcome:
    """The demo's result; the names are those of ``--json``.

    seconds              length of the drive
    frames               data frames that the agent took from the bus
    samples_sent         values of signals in them, as counted by the agent
    samples_received     the same as counted by the receiver, decoded from what it stored
    duplicates_dropped   batches that came once more
    gaps                 what the receiver knows to be missing
    outage_s             how long the link was gone
    backlog_bytes_max    the most that was sealed and not acknowledged
    batches, batch_bytes   sealed, each counted once
    json_bytes           what the received frames are as one JSON object each, see `cloud`
    link_bytes           all that went up the link: MQTT, catalog, what was sent twice
    latency_s            from the newest sample of a batch to its arrival: median and largest
    reconnect_s, drained_s   from the end of the outage until the link was up, and until nothing waited; -1: never
    """

    seconds: float
    frames: int
    frames_received: int
    samples_sent: int
    samples_received: int
    duplicates_dropped: int
    gaps: int
    outage_s: float
    backlog_bytes_max: int
    batches: int
    batches_received: int
    batch_bytes: int
    json_bytes: int
    received_bytes: int
    link_bytes: int
    latency_s: float
    latency_s_max: float
    reconnect_s: float
    drained_s: float

    @property
    def samples_lost(self) -> int:
        """Sent and not received."""
        return self.samples_sent - self.samples_received

    @property
    def bytes_per_frame(self) -> float:
        """Of the batches, as they were sealed."""
        return self.batch_bytes / self.frames if self.frames else 0.0

    @property
    def json_bytes_per_frame(self) -> float:
        """Of one JSON object for each frame."""
        return self.json_bytes / self.frames_received if self.frames_received else 0.0

    @property
    def bytes_ratio_json(self) -> float:
        """JSON's bytes to the batches', for what was received."""
        return self.json_bytes / self.received_bytes if self.received_bytes else 0.0

    @property
    def complete(self) -> bool:
        """Everything that was sent has arrived, once, and there was something."""
        same = (self.samples_sent, self.frames) == (self.samples_received, self.frames_received)
        return same and self.samples_sent > 0 and not self.gaps

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        rounded = {name: round(value, 3) if isinstance(value, float) else value for name, value in asdict(self).items()}
        return rounded | {
            "samples_lost": self.samples_lost,
            "bytes_per_frame": round(self.bytes_per_frame, 3),
            "json_bytes_per_frame": round(self.json_bytes_per_frame, 1),
            "bytes_ratio_json": round(self.bytes_ratio_json, 1),
        }
