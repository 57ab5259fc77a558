# SPDX-License-Identifier: Apache-2.0
"""The attributes of a DBC file that bear on decoding: cycle time, J1939, counters, long names.

    VFrameFormat              of a message: StandardCAN, ExtendedCAN, J1939PG, StandardCAN_FD, ExtendedCAN_FD
    ProtocolType              of the database: "J1939"
    GenMsgCycleTime           of a message: milliseconds, up to `CYCLE_MS_MAX`
    GenMsgSendType            of a message: "cyclic" where it is sent in cycles, be it on other occasions as well
    SigType                   of a signal: MessageCounter; what else it may be does not matter here
    SystemMessageLongSymbol   of a message: its name where it has more than 32 characters
    SystemSignalLongSymbol    of a signal: the same

An attribute with a value of the wrong kind is a note, and counts as not given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.decode.grammar import DIGITS_MAX
from agent.decode.reading import excerpt
from agent.decode.report import Severity
from agent.model import EXTENDED

if TYPE_CHECKING:
    from agent.decode.statements import AcceptedMessage, AttributeStatement, Statements

FRAME_FORMATS = ("StandardCAN", "ExtendedCAN", "reserved", "J1939PG", *["reserved"] * 10)
FRAME_FORMATS_FD = ("StandardCAN_FD", "ExtendedCAN_FD")
"""The values 14 and 15 of VFrameFormat where the file declares it as a number."""
COUNTER = "MessageCounter"
LONG_NAMES = ("SystemMessageLongSymbol", "SystemSignalLongSymbol")
ENUM_MAX = 256
"""Values of an enumeration that count."""
VALUE_CHARS_MAX = 255
"""Of an attribute's text that count; a longer name counts as not given."""
CYCLE_MS_MAX = 0xFFFF_FFFF
"""What a catalog holds; seven weeks."""


class Attributes:
    """The attributes of one file."""

    def __init__(self, statements: Statements) -> None:
        self._statements = statements
        self._database: dict[str, str] = {}
        self._message: dict[tuple[str, int], AttributeStatement] = {}
        self._signal: dict[tuple[str, int, str], str] = {}
        for statement in statements.attributes:
            if len(statement.value) > VALUE_CHARS_MAX:
                if statement.name in LONG_NAMES:
                    self._note(statement, f"longer than {VALUE_CHARS_MAX} characters")
                    continue
                statement.value = statement.value[:VALUE_CHARS_MAX]
            if statement.kind == "BO_":
                self._message[statement.name, statement.dbc_id] = statement
            elif statement.kind == "SG_":
                self._signal[statement.name, statement.dbc_id, statement.signal] = statement.value
            else:
                self._database[statement.name] = statement.value

    def cycle_ms(self, dbc_id: int) -> int:
        """The message's cycle time, 0 where none is given."""
        if "GenMsgCycleTime" not in self._statements.attribute_types:
            return 0
        statement = self._message.get(("GenMsgCycleTime", dbc_id))
        value = statement.value if statement else self._default("GenMsgCycleTime", "0")
        try:
            cycle_ms = max(0, int(float(value)))
        except (ValueError, OverflowError):
            cycle_ms = -1
        if 0 <= cycle_ms <= CYCLE_MS_MAX:
            return cycle_ms
        if statement:
            self._note(statement, f"not a number of milliseconds up to {CYCLE_MS_MAX}")
        return 0

    def is_cyclic(self, dbc_id: int) -> bool:
        """Whether the message is sent in its cycles all the time: not where its send type says otherwise."""
        names = self._names("GenMsgSendType")
        statement = self._message.get(("GenMsgSendType", dbc_id))
        value = statement.value if statement else self._default("GenMsgSendType")
        name = _named(names, value).casefold()
        return not name or ("cyclic" in name and "active" not in name)

    def message_name(self, message: AcceptedMessage) -> str:
        """The message's name, the long one where there is one."""
        statement = self._message.get(("SystemMessageLongSymbol", message.dbc_id))
        return (statement.value if statement else "") or message.statement.name

    def signal_name(self, dbc_id: int, name: str) -> str:
        """The signal's name, the long one where there is one."""
        return self._signal.get(("SystemSignalLongSymbol", dbc_id, name)) or name

    def is_counter(self, dbc_id: int, name: str) -> bool:
        """Whether the signal counts the frames of its message."""
        names = self._names("SigType")
        default = self._default("SigType")
        value = self._signal.get(("SigType", dbc_id, name), default)
        return COUNTER in (value, _named(names, value))

    def is_j1939(self, message: AcceptedMessage, setting: bool | str) -> bool:
        """Whether the message is matched by PGN: 29-bit ones, as the setting or else the file says."""
        if not message.can_id & EXTENDED:
            return False
        if isinstance(setting, bool):
            return setting
        frame_format = self._frame_format(message.dbc_id)
        if frame_format is None:
            return self._database.get("ProtocolType", "").upper() == "J1939"
        return frame_format == "J1939PG"

    def _default(self, attribute: str, otherwise: str = "") -> str:
        return self._statements.attribute_defaults.get(attribute, otherwise)[:VALUE_CHARS_MAX]

    def _names(self, attribute: str) -> list[str]:
        """The values of an enumeration, of its type."""
        return self._statements.attribute_types.get(attribute, ("", []))[1][:ENUM_MAX]

    def _frame_format(self, dbc_id: int) -> str | None:
        """What VFrameFormat says of a message, None where the file does not know the attribute."""
        declared = self._statements.attribute_types.get("VFrameFormat")
        if declared is None:
            return None
        kind, names = declared[0], self._names("VFrameFormat")
        if kind != "ENUM":
            names = [*FRAME_FORMATS, *FRAME_FORMATS_FD]
        statement = self._message.get(("VFrameFormat", dbc_id))
        value = statement.value if statement else self._default("VFrameFormat")
        if value in names:
            return value
        try:
            return names[int(float(value))]
        except (ValueError, OverflowError, IndexError):
            if statement:
                self._note(statement, "none of its values")
            return None

    def _note(self, statement: AttributeStatement, why: str) -> None:
        self._statements.report(
            statement.line, f"attribute {statement.name} left out, {excerpt(statement.value)} is {why}", Severity.NOTE
        )


def _named(names: list[str], value: str) -> str:
    """One of an enumeration's values, be it written as its number or its name."""
    is_number = value.isdecimal() and len(value) <= DIGITS_MAX and int(value) < len(names)
    return names[int(value)] if is_number else value
