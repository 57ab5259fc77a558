# SPDX-License-Identifier: Apache-2.0
"""What collecting has to tell beside samples: events, with the time of the frames that they were seen by."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class MarkKind(enum.StrEnum):
    """What has happened."""

    ABSENT = "absent"  # a message fell silent: its signals are not known any more
    BACK = "back"  # it has come again
    TRIGGERED = "triggered"  # a trigger's event; its window is being recorded


@dataclass(frozen=True, slots=True)
class Mark:
    """One event.

    time_ns   the frame's own time: the last one before a silence, the first one after it, the one that triggered
    subject   bus.message, or the trigger's name
    can_id    arbitration id word of the message, 0 for a trigger
    detail    for a person
    """

    kind: MarkKind
    time_ns: int
    subject: str
    can_id: int = 0
    detail: str = ""
