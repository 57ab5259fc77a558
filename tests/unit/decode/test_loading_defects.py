# SPDX-License-Identifier: Apache-2.0
"""What each kind of defect of a DBC file costs, and on which line it is named."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from agent.batch.catalog import Catalog, decode_catalog, encode_catalog
from agent.decode.loading import load_databases
from agent.decode.report import LoadedDatabases, Severity, Subject
from agent.physical import names

if TYPE_CHECKING:
    from pathlib import Path

HEAD = 'VERSION ""\nNS_ :\n\tCM_\n\tBA_\nBS_:\nBU_: ECU\n\n'
"""Seven lines; what follows begins in line 8."""
NINES = "9" * 5000
"""More digits than Python makes an int of."""
SOUND = 'BO_ 16 Sound: 8 ECU\n SG_ level : 0|8@1+ (1,0) [0|0] "" ECU\n'

SKIPPED, REPAIRED, NOTE = Severity.SKIPPED, Severity.REPAIRED, Severity.NOTE
MESSAGE, SIGNAL, STATEMENT = Subject.MESSAGE, Subject.SIGNAL, Subject.STATEMENT


def load(tmp_path: Path, text: str) -> LoadedDatabases:
    path = tmp_path / "car.dbc"
    path.write_text(text, encoding="utf-8")
    return load_databases([("can0", path)])


def signal(name: str, place: str = "0|8@1+", rest: str = '(1,0) [0|0] "" ECU') -> str:
    return f" SG_ {name} : {place} {rest}\n"


def message(number: int, name: str, *signals: str, length: int | str = 8) -> str:
    return f"BO_ {number} {name}: {length} ECU\n" + "".join(signals)


# name: (text from line 8 on, line, severity, subject, message, signal, part of the reason, what is loaded)
DEFECTS = {
    "a message line that is cut short": (
        "BO_ 1 Broken\n" + signal("a") + SOUND,
        *(8, SKIPPED, MESSAGE, "Broken", "", "expected 'BO_ id name: length sender'"),
        {"Sound": ["level"]},
    ),
    "an id that is no number": (
        "BO_ abc Broken: 8 ECU\n" + signal("a") + SOUND,
        *(8, SKIPPED, MESSAGE, "Broken", "", "id is not a number"),
        {"Sound": ["level"]},
    ),
    "an id past 29 bits": (
        message(1075054137, "Broken", signal("a")) + SOUND,
        *(8, SKIPPED, MESSAGE, "Broken", "", "0x40140639"),
        {"Sound": ["level"]},
    ),
    "a 29-bit id without bit 31": (
        SOUND + message(0x18FEF100, "Wide", signal("a")),
        *(10, REPAIRED, MESSAGE, "Wide", "", "lacks bit 31"),
        {"Sound": ["level"], "Wide": ["a"]},
    ),
    "a hexadecimal id": (
        "BO_ 0x20 Hexed: 8 ECU\n" + signal("a"),
        *(8, REPAIRED, MESSAGE, "Hexed", "", "not decimal, read as 32"),
        {"Hexed": ["a"]},
    ),
    "an id declared twice with other signals": (
        SOUND + message(16, "Again", signal("b")),
        *(10, SKIPPED, MESSAGE, "Again", "", "declared before as Sound in line 8, with other signals"),
        {"Sound": ["level"]},
    ),
    "a message longer than any frame": (
        message(1, "Long", signal("a"), length=65) + SOUND,
        *(8, SKIPPED, MESSAGE, "Long", "", "65 bytes"),
        {"Sound": ["level"]},
    ),
    "a length that is no number": (
        message(1, "Odd", signal("a"), length="eight") + SOUND,
        *(8, SKIPPED, MESSAGE, "Odd", "", "not a whole number of bytes"),
        {"Sound": ["level"]},
    ),
    "a message name that begins with a digit": (
        message(1, "2017_5", signal("a")),
        *(8, REPAIRED, MESSAGE, "2017_5", "", "not an identifier"),
        {"2017_5": ["a"]},
    ),
    "a message without a sender": (
        "BO_ 1 Lone: 8\n" + signal("a"),
        *(8, REPAIRED, MESSAGE, "Lone", "", "no sender"),
        {"Lone": ["a"]},
    ),
    "a message name used twice": (
        SOUND + message(17, "Sound", signal("b")),
        *(10, NOTE, MESSAGE, "Sound", "", "same name in line 8"),
        {"Sound": ["b"]},
    ),
    "a signal line that is cut short": (
        message(1, "M", signal("a"), " SG_ b : 8|8@1+ (1,0) [0|0]\n", signal("c", "16|8@1+")),
        *(10, SKIPPED, SIGNAL, "M", "b", "expected a unit in quotes"),
        {"M": ["a", "c"]},
    ),
    "a signal without a scale": (
        message(1, "M", ' SG_ b : 8|8@1+ [0|0] "" ECU\n', signal("c")),
        *(9, SKIPPED, SIGNAL, "M", "b", "expected (scale,offset)"),
        {"M": ["c"]},
    ),
    "a signal before any message": (
        signal("stray") + SOUND,
        *(8, SKIPPED, SIGNAL, "", "stray", "belongs to no message"),
        {"Sound": ["level"]},
    ),
    "a signal of no bits": (
        message(1, "M", signal("a", "0|0@1+"), signal("b")),
        *(9, SKIPPED, SIGNAL, "M", "a", "0 bits"),
        {"M": ["b"]},
    ),
    "a signal of too many bits": (
        message(1, "M", signal("a", "0|65@1+"), signal("b"), length=12),
        *(9, SKIPPED, SIGNAL, "M", "a", "65 bits"),
        {"M": ["b"]},
    ),
    "a signal past the end of any frame": (
        message(1, "M", signal("a", "60|8@1+"), signal("b")),
        *(9, SKIPPED, SIGNAL, "M", "a", "past a frame's 8 bytes"),
        {"M": ["b"]},
    ),
    "a Motorola signal past the message's length": (
        message(1, "M", signal("a", "16|2@0+"), signal("b"), length=3),
        *(9, NOTE, SIGNAL, "M", "a", "past the message's 3 bytes"),
        {"M": ["b", "a"]},
    ),
    "signals that overlap": (
        message(1, "M", signal("a", "0|8@1+"), signal("b", "7|2@0+")),
        *(10, NOTE, SIGNAL, "M", "b", "overlaps a (line 9)"),
        {"M": ["a", "b"]},
    ),
    "a signal name used twice": (
        message(1, "M", signal("a"), signal("a", "8|8@1+")),
        *(10, SKIPPED, SIGNAL, "M", "a", "of this name in line 9"),
        {"M": ["a"]},
    ),
    "a signal name that is a keyword": (
        message(1, "M", signal("VERSION")),
        *(9, REPAIRED, SIGNAL, "M", "VERSION", "is a keyword"),
        {"M": ["VERSION"]},
    ),
    "a signal without a receiver": (
        message(1, "M", ' SG_ a : 0|8@1+ (1,0) [0|0] ""\n', signal("b", "8|8@1+")),
        *(9, REPAIRED, SIGNAL, "M", "a", "no receiver"),
        {"M": ["a", "b"]},
    ),
    "a scale without its zero": (
        message(1, "M", signal("a", rest='(.25,0) [0|0] "" ECU')),
        *(9, REPAIRED, SIGNAL, "M", "a", "scale .25 read as 0.25"),
        {"M": ["a"]},
    ),
    "limits that are no numbers": (
        message(1, "M", signal("a", rest='(1,0) [-1.#INF|1] "" ECU')),
        *(9, REPAIRED, SIGNAL, "M", "a", "minimum -1.#INF read as 0"),
        {"M": ["a"]},
    ),
    "a multiplexed signal without a multiplexor": (
        message(1, "M", signal("a m1")),
        *(9, REPAIRED, SIGNAL, "M", "a", "read from every frame"),
        {"M": ["a"]},
    ),
    "a multiplexed signal that no statement selects": (
        message(1, "M", signal("p M"), signal("q M", "8|8@1+"), signal("a m1", "16|8@1+")),
        *(11, REPAIRED, SIGNAL, "M", "a", "no SG_MUL_VAL_ says which"),
        {"M": ["p", "q", "a"]},
    ),
    "a multiplexor that is not there": (
        message(1, "M", signal("p M"), signal("q M", "8|8@1+"), signal("a m1", "16|8@1+"))
        + "SG_MUL_VAL_ 1 a gone 1-1;\n",
        *(11, SKIPPED, SIGNAL, "M", "a", "gone, which is to select it, is not a multiplexor"),
        {"M": ["p", "q"]},
    ),
    "multiplexors that select each other": (
        message(1, "M", signal("p m1M"), signal("q m1M", "8|8@1+"), signal("a", "16|8@1+"))
        + "SG_MUL_VAL_ 1 p q 1-1;\nSG_MUL_VAL_ 1 q p 1-1;\n",
        *(10, SKIPPED, SIGNAL, "M", "q", "its multiplexor q is selected by itself"),
        {"M": ["a"]},
    ),
    "a range of multiplexor values that is empty": (
        message(1, "M", signal("p M"), signal("q M", "8|8@1+"), signal("a m1", "16|8@1+")) + "SG_MUL_VAL_ 1 a p 3-1;\n",
        *(11, SKIPPED, SIGNAL, "M", "a", "is empty"),
        {"M": ["p", "q"]},
    ),
    "a multiplexor that cannot be read": (
        message(1, "M", signal("p M", "0|99@1+"), signal("a m1", "16|8@1+"), signal("b", "8|8@1+")),
        *(10, SKIPPED, SIGNAL, "M", "a", "as is the multiplexor p"),
        {"M": ["b"]},
    ),
    "a mark without meaning": (
        message(1, "M", signal("p M"), signal("a mux", "16|8@1+")),
        *(10, SKIPPED, SIGNAL, "M", "a", "its mark mux"),
        {"M": ["p"]},
    ),
    "a value table of a missing signal": (
        SOUND + 'VAL_ 16 gone 0 "a" ;\n',
        *(10, SKIPPED, STATEMENT, "", "", "signal gone of Sound, which has no such signal"),
        {"Sound": ["level"]},
    ),
    "a value table of a missing message": (
        SOUND + 'VAL_ 99 gone 0 "a" ;\n',
        *(10, SKIPPED, STATEMENT, "", "", "id 99, which no message has"),
        {"Sound": ["level"]},
    ),
    "a value table without its semicolon": (
        SOUND + 'VAL_ 16 level 0 "off" 1 "on"\nBO_ 17 Next: 8 ECU\n',
        *(10, REPAIRED, STATEMENT, "", "", "no semicolon"),
        {"Sound": ["level"], "Next": []},
    ),
    "a value table with a broken number": (
        SOUND + 'VAL_ 16 level 0 "off" 1.5 "on" ;\n',
        *(10, REPAIRED, STATEMENT, "Sound", "level", "entry 1.5 left out"),
        {"Sound": ["level"]},
    ),
    "a value table that is not understood": (
        SOUND + "VAL_ 16 level 0 off ;\n",
        *(10, SKIPPED, STATEMENT, "", "", "VAL_ statement is not understood"),
        {"Sound": ["level"]},
    ),
    "a value table entry that 64 bits do not hold": (
        SOUND + 'VAL_ 16 level 18446744073709551615 "SNA" 1 "on";\n',
        *(
            10,
            REPAIRED,
            STATEMENT,
            "Sound",
            "level",
            "entry 18446744073709551615 left out, it is not one of -922337203",
        ),
        {"Sound": ["level"]},
    ),
    "a value table entry that no unsigned number of 64 bits is": (
        message(16, "Sound", signal("level", "0|64@1+")) + 'VAL_ 16 level -1 "SNA" 1 "on";\n',
        *(10, REPAIRED, STATEMENT, "Sound", "level", "entry -1 left out, it is not one of 0 to 18446744073709551615"),
        {"Sound": ["level"]},
    ),
    "a value table entry of thousands of digits": (
        SOUND + f'VAL_ 16 level {NINES} "SNA" 1 "on";\n',
        *(10, REPAIRED, STATEMENT, "Sound", "level", "999… left out, it is not a whole number"),
        {"Sound": ["level"]},
    ),
    "a value table of an id of thousands of digits": (
        SOUND + f'VAL_ {NINES} level 1 "on";\n',
        *(10, SKIPPED, STATEMENT, "", "", "VAL_ statement is not understood"),
        {"Sound": ["level"]},
    ),
    "a hexadecimal id of thousands of digits": (
        f"BO_ 0x{NINES} Broken: 8 ECU\n" + SOUND,
        *(8, SKIPPED, MESSAGE, "Broken", "", "its id is not a number: 0x999"),
        {"Sound": ["level"]},
    ),
    "a hexadecimal length of thousands of digits": (
        message(1, "Long", signal("a"), length=f"0x{NINES}") + SOUND,
        *(8, SKIPPED, MESSAGE, "Long", "", "its length is 0x999"),
        {"Sound": ["level"]},
    ),
    "a scale of hundreds of digits": (
        message(1, "Vast", signal("a", rest=f'({NINES[:400]},0) [0|0] "" ECU')) + SOUND,
        *(9, SKIPPED, SIGNAL, "Vast", "a", "its scale 999"),
        {"Vast": [], "Sound": ["level"]},
    ),
    "an offset larger than any number": (
        message(1, "Vast", signal("a", rest='(1,1e999) [0|0] "" ECU')) + SOUND,
        *(9, SKIPPED, SIGNAL, "Vast", "a", "its offset 1e999 makes values larger than any number"),
        {"Vast": [], "Sound": ["level"]},
    ),
    "a limit larger than any number": (
        message(1, "Vast", signal("a", rest=f'(1,0) [0|{NINES[:400]}] "" ECU')),
        *(9, REPAIRED, SIGNAL, "Vast", "a", "999… read as 0"),
        {"Vast": ["a"]},
    ),
    "a multiplexing mark of thousands of digits": (
        message(1, "Vast", signal("mux M"), signal(f"a m{NINES}"), signal("b m1", "8|8@1+")),
        *(10, SKIPPED, SIGNAL, "Vast", "a", "its mark m999"),
        {"Vast": ["mux", "b"]},
    ),
    "a multiplexor range of thousands of digits": (
        SOUND + f"SG_MUL_VAL_ 16 level mux 0-{NINES};\n",
        *(10, SKIPPED, STATEMENT, "", "", "SG_MUL_VAL_ statement is not understood"),
        {"Sound": ["level"]},
    ),
    "a float type of thousands of digits": (
        SOUND + f"SIG_VALTYPE_ 16 level : {NINES};\n",
        *(10, SKIPPED, STATEMENT, "", "", "SIG_VALTYPE_ statement is not understood"),
        {"Sound": ["level"]},
    ),
    "a float type of a byte": (
        SOUND + "SIG_VALTYPE_ 16 level : 1;\n",
        *(10, REPAIRED, SIGNAL, "Sound", "level", "cannot be a float"),
        {"Sound": ["level"]},
    ),
    "a float type of a missing signal": (
        SOUND + "SIG_VALTYPE_ 16 gone : 1;\n",
        *(10, SKIPPED, STATEMENT, "", "", "float type left out"),
        {"Sound": ["level"]},
    ),
    "a comment with quotes in it": (
        'CM_ SG_ 16 level "the "real" level";\n' + SOUND,
        *(8, NOTE, STATEMENT, "", "", "holds a quote"),
        {"Sound": ["level"]},
    ),
    "a comment that never ends": (
        'CM_ SG_ 16 level "the level;\n' + SOUND + 'CM_ BO_ 16 "fine";\n',
        *(8, NOTE, STATEMENT, "", "", "CM_ statement is not understood"),
        {"Sound": ["level"]},
    ),
    "a comment about nothing": (
        'CM_ 145 "pedal";\n' + SOUND,
        *(8, NOTE, STATEMENT, "", "", "CM_ statement is not understood"),
        {"Sound": ["level"]},
    ),
    "a line of something else": (
        "hello there\n" + SOUND,
        *(8, NOTE, STATEMENT, "", "", "not a DBC statement and left out: hello there"),
        {"Sound": ["level"]},
    ),
    "an attribute of no meaning": (
        'BA_DEF_ BO_ "GenMsgCycleTime" INT 0 9;\n' + SOUND + 'BA_ "GenMsgCycleTime" BO_ 16 "often";\n',
        *(11, NOTE, STATEMENT, "", "", "often is not a number of milliseconds"),
        {"Sound": ["level"]},
    ),
    "a cycle time that no catalog holds": (
        'BA_DEF_ BO_ "GenMsgCycleTime" INT 0 9;\n' + SOUND + 'BA_ "GenMsgCycleTime" BO_ 16 4294967296;\n',
        *(11, NOTE, STATEMENT, "", "", "4294967296 is not a number of milliseconds up to 4294967295"),
        {"Sound": ["level"]},
    ),
}


@pytest.mark.parametrize("case", DEFECTS.values(), ids=DEFECTS.keys())
def test_a_defect_costs_itself_and_is_named_with_its_line(tmp_path: Path, case: tuple[object, ...]) -> None:
    text, line, severity, subject, message_name, signal_name, reason, expected = case
    loaded = load(tmp_path, f"{HEAD}{text}")
    named = [problem for problem in loaded.problems if problem.line == line]
    assert [(p.severity, p.subject, p.message, p.signal) for p in named] == [
        (severity, subject, message_name, signal_name)
    ], [str(problem) for problem in loaded.problems]
    assert str(reason) in named[0].reason
    assert named[0].file == str(tmp_path / "car.dbc")
    found = {message.name: [signal.name for signal in message.signals] for message in loaded.messages}
    assert found == expected
    assert decode_catalog(encode_catalog(Catalog(("can0",), loaded.messages))).hash


def test_an_attribute_of_thousands_of_digits_is_none_of_its_values(tmp_path: Path) -> None:
    definitions = 'BA_DEF_ BO_ "GenMsgSendType" ENUM "cyclic";\nBA_DEF_ SG_ "SigType" ENUM "MessageCounter";\n'
    values = f'BA_ "GenMsgSendType" BO_ 16 {NINES};\nBA_ "SigType" SG_ 16 level {NINES};\n'
    (found,) = load(tmp_path, f"{HEAD}{definitions}{SOUND}{values}").messages
    assert not found.cyclic
    assert not found.signals[0].counter


@pytest.mark.parametrize(
    ("place", "named"),
    [("0|64@1+", {(1 << 64) - 1: "SNA", 7: "on"}), ("0|64@1-", {-1: "SNA", 7: "on"})],
)
def test_all_ones_of_64_bits_keep_their_name_up_to_the_receiver(
    tmp_path: Path, place: str, named: dict[int, str]
) -> None:
    pairs = " ".join(f'{value} "{name}"' for value, name in named.items())
    loaded = load(tmp_path, f"{HEAD}{message(16, 'Sound', signal('level', place))}VAL_ 16 level {pairs};\n")
    assert not loaded.problems
    (received,) = decode_catalog(encode_catalog(Catalog(("can0",), loaded.messages))).messages
    assert dict(received.signals[0].choices) == named
    raw = np.array([(1 << 64) - 1, 7, 8], np.uint64)
    assert names(received.signals[0], raw) == ["SNA", "on", None]
