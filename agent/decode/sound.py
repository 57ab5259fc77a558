# SPDX-License-Identifier: Apache-2.0
"""What of a DBC file loads: messages and signals after `tolerance` has examined them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.decode.statements import MessageStatement, SignalStatement


@dataclass(slots=True)
class SoundSignal:
    """A signal that loads; `alias` and `mark` are its name and multiplexing mark for cantools."""

    statement: SignalStatement
    alias: str
    mark: str
    start: int
    length: int

    @property
    def end_bit(self) -> int:
        """Bits from the payload's first to the signal's last, in the order in which they are sent."""
        if self.statement.order == "0":
            return 8 * (self.start // 8) + 7 - self.start % 8 + self.length
        return self.start + self.length


@dataclass(slots=True)
class SoundMessage:
    """A message that loads.

    dbc_id      the id as the file writes it, by which other statements name the message
    can_id      arbitration id word, `EXTENDED` in bit 31
    selections  by signal alias: (multiplexor alias, ranges)
    """

    statement: MessageStatement
    dbc_id: int
    can_id: int
    length: int
    alias: str
    signals: list[SoundSignal] = field(default_factory=list)
    values: dict[str, dict[int, str]] = field(default_factory=dict)
    floats: dict[str, int] = field(default_factory=dict)
    selections: dict[str, tuple[str, tuple[tuple[int, int], ...]]] = field(default_factory=dict)
