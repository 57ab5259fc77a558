# SPDX-License-Identifier: Apache-2.0
"""What of a DBC file loads: messages and signals after `tolerance` has examined them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.decode.statements import MessageStatement, SignalStatement

SIGNAL_BITS_MAX = 64


@dataclass(slots=True)
class AcceptedSignal:
    """A signal that loads.

    alias   its name, or another that no other signal of the message has: names may come twice in a message
    mark    how it is multiplexed: "M", "m<number>", "m<number>M", "" for a plain signal
    """

    statement: SignalStatement
    alias: str
    mark: str
    start: int
    length: int

    @property
    def is_multiplexor(self) -> bool:
        """Whether its values select others."""
        return self.mark.endswith("M")

    @property
    def end_bit(self) -> int:
        """Bits from the payload's first to the signal's last, in the order in which they are sent."""
        if self.statement.order == "0":
            return 8 * (self.start // 8) + 7 - self.start % 8 + self.length
        return self.start + self.length


@dataclass(slots=True)
class AcceptedMessage:
    """A message that loads.

    dbc_id      the id as the file writes it, by which other statements name the message
    can_id      arbitration id word, `EXTENDED` in bit 31
    values      by signal alias: (raw value, text)
    floats      the aliases of signals that are floats
    selections  by signal alias: (multiplexor alias, ranges)
    """

    statement: MessageStatement
    dbc_id: int
    can_id: int
    length: int
    signals: list[AcceptedSignal] = field(default_factory=list)
    values: dict[str, tuple[tuple[int, str], ...]] = field(default_factory=dict)
    floats: set[str] = field(default_factory=set)
    selections: dict[str, tuple[str, tuple[tuple[int, int], ...]]] = field(default_factory=dict)

    def only_multiplexor(self) -> str | None:
        """The alias of the message's multiplexor, None where it has not exactly one."""
        found = [signal.alias for signal in self.signals if signal.is_multiplexor]
        return found[0] if len(found) == 1 else None

    def selector(self, signal: AcceptedSignal, only: str | None) -> str | None:
        """The alias of the multiplexor that selects a signal, None where the signal is in every frame.

        only   the message's `only_multiplexor`
        """
        if not signal.mark:
            return None
        if only is not None:
            return None if signal.alias == only else only
        selection = self.selections.get(signal.alias)
        return selection[0] if selection else None
