# SPDX-License-Identifier: Apache-2.0
"""Where a DBC file holds too much: what is left out or refused, and at which line that is said."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from agent.decode import reading
from agent.decode.grammar import STATEMENT_CHARS_MAX
from agent.decode.loading import load_databases
from agent.decode.multiplexing import DEPTH_MAX
from agent.decode.overlaps import Overlaps
from agent.decode.report import LoadedDatabases, Severity
from agent.decode.statements import PROBLEMS_MAX
from agent.decode.tolerance import SIGNALS_MAX
from agent.errors import DatabaseError

if TYPE_CHECKING:
    from pathlib import Path

HEAD = "BO_ 16 Whole: 8 ECU\n"
LEVEL = ' SG_ level : 0|8@1+ (1,0) [0|0] "" ECU\n'


def signal(name: str, mark: str = "", start: int = 8) -> str:
    return f' SG_ {name} {mark}: {start}|8@1+ (1,0) [0|0] "" ECU\n'


def load(tmp_path: Path, text: str) -> LoadedDatabases:
    path = tmp_path / "car.dbc"
    path.write_text(text)
    return load_databases([("can0", path)])


def test_a_message_of_too_many_signals_is_left_out(tmp_path: Path) -> None:
    many = "BO_ 17 Many: 8 ECU\n" + "".join(signal(f"s{number}") for number in range(SIGNALS_MAX + 1))
    loaded = load(tmp_path, HEAD + LEVEL + many)
    assert [message.name for message in loaded.messages] == ["Whole"]
    (problem,) = loaded.problems
    assert (problem.line, problem.severity, problem.message) == (3, Severity.SKIPPED, "Many")
    assert problem.reason.endswith(f"more than 10,000 signals, the first too many in line {4 + SIGNALS_MAX}")


@pytest.mark.parametrize(
    ("limit", "text", "line", "what"),
    [
        ("DECLARED_MAX", HEAD + LEVEL + signal("a") + signal("b"), 4, "messages and signals"),
        ("VALUES_MAX", HEAD + LEVEL + 'VAL_ 16 level 0 "a" 1 "b" ;\nVAL_ 16 level 0 "a" 1 "b" ;\n', 4, "entries"),
        ("STATEMENTS_MAX", HEAD + LEVEL + "x\nx\n", 3, "statements"),
    ],
)
def test_a_file_of_too_much_is_refused_with_the_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, text: str, line: int, what: str
) -> None:
    load(tmp_path, text)
    monkeypatch.setattr(reading, limit, 3)
    with pytest.raises(DatabaseError, match=rf"car\.dbc: line {line}: more than 3 {what}.*; accepted: no more"):
        load(tmp_path, text)


def test_names_and_statements_longer_than_any_are_left_out(tmp_path: Path) -> None:
    long, longer = "n" * 256, "x" * STATEMENT_CHARS_MAX
    text = (
        f"{HEAD}{LEVEL}{signal(long)}BO_ 17 {long}: 8 ECU\n{signal('a')}BO_ 18 {long[1:]}: 8 ECU\n{signal(long[1:])}"
        f'CM_ "{longer}";\nVAL_ 16 level 1 "{longer}" ;\n{signal(longer)}'
    )
    loaded = load(tmp_path, text)
    assert [(m.name, [s.name for s in m.signals]) for m in loaded.messages] == [
        ("Whole", ["level"]),
        (long[1:], [long[1:]]),
    ]
    assert [(p.line, p.severity, max(map(len, (p.reason, p.message, p.signal))) < 300) for p in loaded.problems] == [
        (line, Severity.SKIPPED, True) for line in (3, 4, 9, 10)
    ]
    assert "its name has more than 255 characters: nnn" in loaded.problems[0].reason
    assert "VAL_ statement has more than 65,536 characters and is left out" in loaded.problems[2].reason
    assert "signal left out, has more than 65,536 characters" in loaded.problems[3].reason


def test_problems_past_a_number_are_counted(tmp_path: Path) -> None:
    loaded = load(tmp_path, HEAD + LEVEL + "x\n" * (PROBLEMS_MAX + 5) + 'VAL_ 16 gone 1 "a" ;\n')
    assert len(loaded.problems) == PROBLEMS_MAX + 2
    first, last = loaded.problems[0], loaded.problems[-1]
    assert (first.line, first.severity, first.reason) == (0, Severity.NOTE, "5 more like these are not listed")
    assert (last.line, last.severity) == (PROBLEMS_MAX + 8, Severity.SKIPPED)
    assert loaded.files[0].how == "in part"


def test_multiplexors_one_below_the_other_end_at_a_depth(tmp_path: Path) -> None:
    names = [f"s{number}" for number in range(DEPTH_MAX + 2)]
    ranges = "".join(f"SG_MUL_VAL_ 16 {below} {above} 0-1;\n" for above, below in itertools.pairwise(names))
    text = HEAD + signal(names[0], "M ") + "".join(signal(name, "m0M ") for name in names[1:]) + ranges
    loaded = load(tmp_path, text)
    assert [s.name for s in loaded.messages[0].signals] == names[:-1]
    (problem,) = [problem for problem in loaded.problems if problem.severity is Severity.SKIPPED]
    assert (problem.line, problem.signal) == (len(names) + 1, names[-1])
    assert problem.reason == "signal left out, it is selected through more than 16 multiplexors"


def test_overlaps_are_looked_for_as_long_as_that_takes_no_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "".join(f"BO_ {number} M{number}: 8 ECU\n" + signal("a") + signal("b") for number in range(4))
    assert [problem.line for problem in load(tmp_path, text).problems] == [3, 6, 9, 12]
    monkeypatch.setattr(Overlaps.__init__, "__defaults__", (12,))
    assert [(p.line, p.signal, p.reason[:24]) for p in load(tmp_path, text).problems] == [
        (3, "b", "signal overlaps a (line "),
        (6, "b", "signal overlaps a (line "),
        (7, "", "overlapping signals are "),
    ]


def test_an_attribute_of_a_signal_of_one_letter_or_of_another_script_counts(tmp_path: Path) -> None:
    types = 'BA_DEF_ SG_ "SystemSignalLongSymbol" STRING ;\n'
    values = 'BA_ "SystemSignalLongSymbol" SG_ 16 a "first";\nBA_ "SystemSignalLongSymbol" SG_ 16 温度 "second";\n'
    loaded = load(tmp_path, HEAD + signal("a") + signal("温度", "", 16) + types + values)
    assert [s.name for s in loaded.messages[0].signals] == ["first", "second"]
