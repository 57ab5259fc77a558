# SPDX-License-Identifier: Apache-2.0
"""The agent's log during the demo: kept off the screen, its last line at hand, and its warnings for the end.

Limits: `LINES_MAX` warnings are kept, the oldest go first.
"""

from __future__ import annotations

import io
import json
from collections import deque

LINES_MAX = 20
_HIDDEN = ("timestamp", "level", "event", "stream", "hint")


class Voice(io.StringIO):
    """A stream for `agent.system.log`, in its JSON format."""

    def __init__(self) -> None:
        super().__init__()
        self.last = ""
        self.warnings: deque[str] = deque(maxlen=LINES_MAX)

    def write(self, text: str) -> int:
        """Take lines."""
        for line in text.splitlines():
            try:
                event = json.loads(line)
                said, level = _spoken(event), event["level"]
            except (ValueError, KeyError, TypeError):
                continue
            self.last = said
            if level not in ("debug", "info"):
                self.warnings.append(said)
        return len(text)


def _spoken(event: dict[str, object]) -> str:
    """Name first, then what about it."""
    fields = [f"{name}={value}" for name, value in event.items() if name not in _HIDDEN]
    return " ".join((str(event["event"]), *fields))
