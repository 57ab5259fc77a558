# SPDX-License-Identifier: Apache-2.0
"""The statements of a DBC file that bear on decoding, each with its line; texts and numbers as written.

    BO_, SG_                          messages and their signals
    VAL_                              value tables
    SIG_VALTYPE_                      floats
    SG_MUL_VAL_                       extended multiplexing
    BA_DEF_, BA_DEF_DEF_, BA_         attributes

An id is the number by which a file names a message: the identifier, and bit 31 for a 29-bit one.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from agent.decode.report import Problem, Severity, Subject

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


@dataclass(slots=True)
class SignalStatement:
    """An ``SG_`` statement; numbers as written."""

    line: int
    name: str
    mark: str
    start: str
    length: str
    order: str
    sign: str
    scale: str
    offset: str
    minimum: str
    maximum: str
    unit: str
    text: str


@dataclass(slots=True)
class MessageStatement:
    """A ``BO_`` statement with the ``SG_`` statements that follow it."""

    line: int
    dbc_id: int
    name: str
    length: str
    text: str
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

    def report(
        self,
        line: int,
        reason: str,
        severity: Severity,
        subject: Subject = Subject.STATEMENT,
        message: str = "",
        signal: str = "",
    ) -> None:
        """Add a problem."""
        self.problems.append(Problem(self.file, line, reason, severity, subject, message, signal))
