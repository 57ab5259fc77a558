# SPDX-License-Identifier: Apache-2.0
"""When a message that its DBC file says to come in cycles counts as stopped, unless a rule says otherwise.

A bus under load delays frames, and a gateway drops one now and then; three cycles without any are neither.
`silence.Silences` does the rest: it marks the message as absent, and as back when it comes again. A message that has
never come is not missed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.model import MessageDefinition

CYCLES_MISSED = 3
SILENCE_NS_MIN = 100_000_000
"""Fast messages share the bus with others, and the units that send them are busy at times."""
_MS = 1_000_000


def stopped_after_ns(message: MessageDefinition) -> int:
    """After how long a silence a message has stopped; 0: never, for it is not sent in cycles, or not all the time."""
    return max(CYCLES_MISSED * message.cycle_ms * _MS, SILENCE_NS_MIN) if message.cyclic and message.cycle_ms else 0
