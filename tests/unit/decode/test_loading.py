# SPDX-License-Identifier: Apache-2.0
"""DBC files to definitions: what they say, several files of a bus, J1939, multiplexing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agent.decode.loading import J1939, load_databases
from agent.decode.report import LoadedDatabases, Severity
from agent.model import EXTENDED

if TYPE_CHECKING:
    from pathlib import Path


HEAD = 'VERSION ""\nNS_ :\n\tCM_\n\tBA_\nBS_:\nBU_: ECU\n\n'
"""Seven lines; what follows begins in line 8."""
SOUND = 'BO_ 16 Sound: 8 ECU\n SG_ level : 0|8@1+ (1,0) [0|0] "" ECU\n'

SKIPPED, NOTE = Severity.SKIPPED, Severity.NOTE


def load(tmp_path: Path, text: str, j1939: J1939 = "auto") -> LoadedDatabases:
    path = tmp_path / "car.dbc"
    path.write_text(text, encoding="utf-8")
    return load_databases([("can0", path)], j1939=j1939)


def signal(name: str, place: str = "0|8@1+", rest: str = '(1,0) [0|0] "" ECU') -> str:
    return f" SG_ {name} : {place} {rest}\n"


def message(number: int, name: str, *signals: str, length: int | str = 8) -> str:
    return f"BO_ {number} {name}: {length} ECU\n" + "".join(signals)


def test_a_file_without_defects_has_no_problems(tmp_path: Path) -> None:
    loaded = load(tmp_path, HEAD + SOUND + 'CM_ BO_ 16 "two\nlines, BO_ 3 in them";\n')
    assert loaded.problems == ()
    assert (loaded.files[0].messages, loaded.files[0].signals, loaded.files[0].how) == (1, 1, "as written")


def test_every_line_end_counts_the_same(tmp_path: Path) -> None:
    text = HEAD + SOUND + "hello\n"
    for end in ("\r\n", "\r", "\n"):
        path = tmp_path / "car.dbc"
        path.write_bytes(text.replace("\n", end).encode())
        loaded = load_databases([("can0", path)])
        assert [problem.line for problem in loaded.problems] == [10]
        assert loaded.messages[0].signals[0].name == "level"


def test_what_no_message_says_of_itself_is_as_the_file_says_of_all(tmp_path: Path) -> None:
    cycles = 'BA_DEF_ BO_ "GenMsgCycleTime" INT 0 1000;\nBA_DEF_DEF_ "GenMsgCycleTime" 50;\n'
    own = 'BA_ "GenMsgCycleTime" BO_ 1 20;\n'
    signals = signal("level", "0|8@1+")
    loaded = load(tmp_path, HEAD + cycles + message(1, "Own", signals) + message(2, "Other", signals) + own)
    assert {each.name: each.cycle_ms for each in loaded.messages} == {"Own": 20, "Other": 50}


def test_a_message_is_what_its_statements_say(tmp_path: Path) -> None:
    loaded = load(
        tmp_path,
        HEAD
        + 'BA_DEF_ BO_ "GenMsgCycleTime" INT 0 1000;\nBA_DEF_DEF_ "GenMsgCycleTime" 50;\n'
        + message(
            0x98FEF100,
            "Wide",
            signal("mode M", "7|3@0+"),
            signal("speed m1", "8|16@1-", '(0.25,-10) [-5|1E3] "km/h" A,B'),
            signal("height m2", "8|32@1-", '(1,0) [0|0] "°" A'),
            length=12,
        )
        + 'VAL_ 2566844672 mode 1 "drive" 0 "park" ;\nSIG_VALTYPE_ 2566844672 height : 1;\n'
        + 'BA_ "GenMsgCycleTime" BO_ 2566844672 20;\n',
    )
    assert loaded.problems == ()
    (wide,) = loaded.messages
    assert (wide.bus, wide.can_id, wide.length, wide.cycle_ms) == ("can0", 0x18FEF100 | EXTENDED, 12, 20)
    mode, speed, height = wide.signals
    assert (mode.multiplexor, mode.little_endian, mode.choices) == (True, False, ((1, "drive"), (0, "park")))
    assert (speed.selected_by, speed.selected_when, speed.signed) == ("mode", ((1, 1),), True)
    assert (speed.scale, speed.offset, speed.minimum, speed.maximum) == (0.25, -10, -5, 1000.0)
    assert (height.is_float, height.unit, height.minimum) == (True, "°", None)


def test_whole_numbers_stay_whole_only_where_cantools_decodes_them_so(tmp_path: Path) -> None:
    kinds = {"(1.0,0.0)": (int, int), "(2.0,-4)": (int, int), "(2,0.5)": (int, float), "(0.5,1)": (float, int)}
    for scaling, expected in kinds.items():
        loaded = load(tmp_path, HEAD + message(1, "M", signal("a", rest=f'{scaling} [0|0] "" ECU')))
        a = loaded.messages[0].signals[0]
        assert (type(a.scale), type(a.offset)) == expected


def test_ranges_of_a_multiplexor_are_merged_and_long_ones_are_kept_whole(tmp_path: Path) -> None:
    loaded = load(
        tmp_path,
        HEAD
        + message(
            1,
            "M",
            signal("p M", "0|32@1+"),
            signal("q m0M", "32|8@1+"),
            signal("a m1", "40|8@1+"),
            signal("b m1", "40|8@1+"),
        )
        + "SG_MUL_VAL_ 1 q p 0-4294967295;\nSG_MUL_VAL_ 1 a q 1-1, 3-3, 2-2, 9-12;\nSG_MUL_VAL_ 1 b q 20-20;\n",
    )
    assert loaded.problems == ()
    _, q, a, b = loaded.messages[0].signals
    assert (q.selected_by, q.selected_when, q.multiplexor) == ("p", ((0, 4294967295),), True)
    assert (a.selected_by, a.selected_when, b.selected_when) == ("q", ((1, 3), (9, 12)), ((20, 20),))


def test_one_name_may_stand_for_signals_of_different_frames(tmp_path: Path) -> None:
    text = message(1, "M", signal("p M"), signal("a m1", "8|8@1+"), signal("a m2", "16|8@1+"))
    loaded = load(tmp_path, HEAD + text)
    assert loaded.problems == ()
    assert [(s.name, s.start, s.selected_when) for s in loaded.messages[0].signals] == [
        ("p", 0, ()),
        ("a", 8, ((1, 1),)),
        ("a", 16, ((2, 2),)),
    ]


def test_long_names_replace_short_ones_everywhere(tmp_path: Path) -> None:
    loaded = load(
        tmp_path,
        HEAD
        + 'BA_DEF_ BO_ "SystemMessageLongSymbol" STRING ;\nBA_DEF_ SG_ "SystemSignalLongSymbol" STRING ;\n'
        + message(1, "M_0001", signal("p_0001 M"), signal("a m1", "8|8@1+"))
        + 'BA_ "SystemMessageLongSymbol" BO_ 1 "MessageOfManyCharacters";\n'
        + 'BA_ "SystemSignalLongSymbol" SG_ 1 p_0001 "SelectorOfManyCharacters";\n',
    )
    assert loaded.messages[0].name == "MessageOfManyCharacters"
    assert loaded.messages[0].signals[1].selected_by == "SelectorOfManyCharacters"


@pytest.mark.parametrize("value", ['"MessageCounter"', "2"])
def test_a_counter_is_what_the_file_declares_as_one(tmp_path: Path, value: str) -> None:
    loaded = load(
        tmp_path,
        HEAD
        + 'BA_DEF_ SG_ "SigType" ENUM "Default","Range","MessageCounter","MessageChecksum";\n'
        + 'BA_DEF_DEF_ "SigType" "Default";\n'
        + message(1, "M", signal("ticks"), signal("sum", "8|8@1+"), signal("COUNTER", "16|8@1+"))
        + f'BA_ "SigType" SG_ 1 ticks {value};\nBA_ "SigType" SG_ 1 sum 3;\n',
    )
    assert loaded.problems == ()
    assert [(s.name, s.counter) for s in loaded.messages[0].signals] == [
        ("ticks", True),
        ("sum", False),
        ("COUNTER", False),
    ]


def test_names_of_their_own_are_kept(tmp_path: Path) -> None:
    loaded = load(tmp_path, HEAD + message(1, "M", signal("9lives M"), signal("a.b m1", "8|8@1+")))
    assert [(s.name, s.selected_by) for s in loaded.messages[0].signals] == [("9lives", None), ("a.b", "9lives")]


def test_messages_come_by_bus_and_id_whatever_their_order(tmp_path: Path) -> None:
    one, two = tmp_path / "one.dbc", tmp_path / "two.dbc"
    one.write_text(message(3, "C") + message(1, "A"))
    two.write_text(message(2, "B"))
    files = [("can1", two), ("can0", one), ("can1", one)]
    loaded = load_databases(files)
    assert [(m.bus, m.name) for m in loaded.messages] == [
        ("can0", "A"),
        ("can0", "C"),
        ("can1", "A"),
        ("can1", "B"),
        ("can1", "C"),
    ]
    assert [report.file for report in loaded.files] == [str(two), str(one), str(one)]


def test_of_two_files_of_a_bus_the_first_counts(tmp_path: Path) -> None:
    one, two = tmp_path / "one.dbc", tmp_path / "two.dbc"
    one.write_text(message(1, "A", signal("a")) + message(2, "B", signal("b")) + message(5, "N"))
    two.write_text(message(1, "A", signal("a")) + message(2, "Other", signal("c")) + message(6, "N"))
    loaded = load_databases([("can0", one), ("can0", two)])
    assert [message.name for message in loaded.messages] == ["A", "B", "N", "N"]
    assert [(p.file, p.line, p.severity, p.message) for p in loaded.problems] == [
        (str(two), 1, NOTE, "A"),
        (str(two), 3, SKIPPED, "Other"),
        (str(two), 5, NOTE, "N"),
    ]
    assert (loaded.files[1].messages, loaded.files[1].signals) == (2, 1)


FORMATS = 'BA_DEF_ BO_ "VFrameFormat" ENUM "StandardCAN","ExtendedCAN","reserved","J1939PG";\n'
FORMAT = 'BA_ "VFrameFormat" BO_ 2566844672 '


@pytest.mark.parametrize(
    ("attributes", "setting", "expected"),
    [
        ("", "auto", [False, False]),
        ('BA_ "ProtocolType" "J1939";\n', "auto", [False, True]),
        ('BA_ "ProtocolType" "J1939";\n', False, [False, False]),
        ("", True, [False, True]),
        (FORMATS + 'BA_DEF_DEF_ "VFrameFormat" "ExtendedCAN";\n' + FORMAT + "3;\n", "auto", [False, True]),
        (FORMATS + 'BA_DEF_DEF_ "VFrameFormat" "J1939PG";\n' + FORMAT + "1;\n", "auto", [False, False]),
        (FORMATS + 'BA_DEF_DEF_ "VFrameFormat" "J1939PG";\n', "auto", [False, True]),
        ('BA_DEF_ BO_ "VFrameFormat" INT 0 15;\nBA_ "VFrameFormat" BO_ 2566844672 3;\n', "auto", [False, True]),
    ],
)
def test_j1939_is_what_the_setting_or_the_file_says(
    tmp_path: Path, attributes: str, setting: J1939, expected: list[bool]
) -> None:
    text = HEAD + message(1, "Short") + message(0x98FEF100, "Wide") + attributes
    loaded = load(tmp_path, text, j1939=setting)
    assert [message.j1939 for message in loaded.messages] == expected


def test_messages_of_one_parameter_group_are_pointed_out(tmp_path: Path) -> None:
    text = message(0x98FEF100, "First") + message(0x8CFEF117, "Second")
    loaded = load(tmp_path, text, j1939=True)
    assert [(p.line, p.severity) for p in loaded.problems] == [(2, NOTE)]
    assert "PGN 65265 is that of First too, its frames are decoded as Second" in loaded.problems[0].reason
