# SPDX-License-Identifier: Apache-2.0
"""The statements of a database that bear on decoding, as they are written, each with its line; and those accepted.

    BO_, SG_                          messages and their signals
    VAL_                              value tables
    SIG_VALTYPE_                      floats
    SG_MUL_VAL_                       extended multiplexing
    BA_DEF_, BA_DEF_DEF_, BA_         attributes

Databases of other kinds are put into the same statements by `cantools_loading`. An accepted message or signal is what
loads, after `tolerance` has examined it.

An id is the number by which a file names a message: the identifier, and bit 31 for a 29-bit one.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from agent.decode.report import Problem, Severity, Subject
from agent.errors import DatabaseError

KEYWORDS = frozenset(
    (
        *("BA_", "BA_DEF_", "BA_DEF_DEF_", "BA_DEF_DEF_REL_", "BA_DEF_REL_", "BA_DEF_SGTYPE_", "BA_REL_", "BA_SGTYPE_"),
        *("BO_", "BO_TX_BU_", "BS_", "BU_", "BU_BO_REL_", "BU_EV_REL_", "BU_SG_REL_", "CAT_", "CAT_DEF_", "CM_"),
        *("ENVVAR_DATA_", "EV_", "EV_DATA_", "FILTER", "NS_", "NS_DESC_", "SG_", "SG_MUL_VAL_", "SGTYPE_"),
        *("SGTYPE_VAL_", "SIG_GROUP_", "SIG_TYPE_REF_", "SIG_VALTYPE_", "SIGTYPE_VALTYPE_", "VAL_", "VAL_TABLE_"),
        "VERSION",
    )
)
"""The words that begin statements; other tools take none of them as a name."""

ATTRIBUTES = frozenset(
    (
        "VFrameFormat",
        "GenMsgCycleTime",
        "GenMsgSendType",
        "ProtocolType",
        "SigType",
        "SystemMessageLongSymbol",
        "SystemSignalLongSymbol",
    )
)
"""The attributes that bear on decoding."""


SIGNAL_BITS_MAX = 64
PROBLEMS_MAX = 10_000
"""Of each severity, in one file."""


@dataclass(slots=True)
class SignalStatement:
    """An ``SG_`` statement; numbers as written.

    minimum, maximum   None where the file sets no limit, as no DBC file can say

    Where a format says these things of a signal itself, not of its name:

    values       its value table
    float_type   1 for a float32, 2 for a float64
    selection    the name of its multiplexor, and the inclusive ranges of values that select it
    """

    line: int
    name: str
    mark: str
    start: str
    length: str
    order: str
    sign: str
    scale: str
    offset: str
    minimum: str | None
    maximum: str | None
    unit: str
    values: list[tuple[str, str]] | None = None
    float_type: int = 0
    selection: tuple[str, list[tuple[int, int]]] | None = None


@dataclass(slots=True)
class MessageStatement:
    """A ``BO_`` statement with the ``SG_`` statements that follow it."""

    line: int
    dbc_id: int
    name: str
    length: str
    signals: list[SignalStatement] = field(default_factory=list)


@dataclass(slots=True)
class ValuesStatement:
    """A ``VAL_`` statement: the value table of a signal."""

    line: int
    dbc_id: int
    signal: str
    pairs: list[tuple[str, str]]


@dataclass(slots=True)
class FloatStatement:
    """A ``SIG_VALTYPE_`` statement: 1 is float32, 2 is float64."""

    line: int
    dbc_id: int
    signal: str
    type: int


@dataclass(slots=True)
class SelectionStatement:
    """An ``SG_MUL_VAL_`` statement: inclusive ranges of a multiplexor that select a signal."""

    line: int
    dbc_id: int
    signal: str
    multiplexor: str
    ranges: list[tuple[int, int]]


@dataclass(slots=True)
class AttributeStatement:
    """A ``BA_`` statement of the database (kind ""), a message ("BO_") or a signal ("SG_"); value without quotes."""

    line: int
    name: str
    kind: str
    dbc_id: int
    signal: str
    value: str


@dataclass(slots=True)
class Statements:
    """All that decoding needs from one file, in the file's order, and what could not be read."""

    file: str
    messages: list[MessageStatement] = field(default_factory=list)
    values: list[ValuesStatement] = field(default_factory=list)
    floats: list[FloatStatement] = field(default_factory=list)
    selections: list[SelectionStatement] = field(default_factory=list)
    attribute_types: dict[str, tuple[str, list[str]]] = field(default_factory=dict)
    attribute_defaults: dict[str, str] = field(default_factory=dict)
    attributes: list[AttributeStatement] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    counts: Counter[Severity] = field(default_factory=Counter)

    def report(
        self,
        line: int,
        reason: str,
        severity: Severity,
        subject: Subject = Subject.STATEMENT,
        message: str = "",
        signal: str = "",
    ) -> None:
        """Add a problem, one of the first `PROBLEMS_MAX` of its severity; the others are counted."""
        self.counts[severity] += 1
        if self.counts[severity] <= PROBLEMS_MAX:
            self.problems.append(Problem(self.file, line, reason, severity, subject, message, signal))

    def refusal(self, line: int, limit: int, what: str) -> DatabaseError:
        """The error of a file that holds too much."""
        return DatabaseError(f"{self.file}: line {line}: more than {limit:,} {what}; accepted: no more in one file")

    def reported(self) -> list[Problem]:
        """The problems by line, those of the whole file and what was counted only first."""
        more = [
            Problem(self.file, 0, f"{count - PROBLEMS_MAX:,} more like these are not listed", severity, Subject.FILE)
            for severity, count in self.counts.items()
            if count > PROBLEMS_MAX
        ]
        return sorted([*more, *self.problems], key=lambda problem: problem.line)


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
