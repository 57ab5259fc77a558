# SPDX-License-Identifier: Apache-2.0
"""When a message that its DBC file says to come in cycles counts as stopped, unless a rule says otherwise.

A bus under load delays frames, and a gateway drops one now and then; three cycles without any are neither.
`silence.Silences` does the rest: it marks the message as absent, and as back when it comes again. A message that has
never come is not missed.
"""

from __future__ import annotations

CYCLES_MISSED = 3
SILENCE_NS_MIN = 100_000_000
"""Fast messages share the bus with others, and the units that send them are busy at times."""
_MS = 1_000_000


def stopped_after_ns(cycle_ms: int) -> int:
    """After how long a silence a message of this cycle time has stopped; 0: never, for it has none."""
    return max(CYCLES_MISSED * cycle_ms * _MS, SILENCE_NS_MIN) if cycle_ms else 0
