# SPDX-License-Identifier: Apache-2.0
"""KCD, SYM and ARXML files, as cantools has them, judged as DBC files are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cantools
import pytest

from agent.decode.loading import find_message, load_databases
from agent.decode.report import LoadedDatabases, Severity
from agent.errors import DatabaseError
from agent.model import EXTENDED
from tests.support.cantools_view import as_cantools_says, as_defined

DATA = Path(__file__).parents[2] / "data" / "databases"
KINDS = ("kcd", "sym", "arxml")


def load(path: Path, bus: str = "can0") -> LoadedDatabases:
    return load_databases([(bus, path)])


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def kcd(*messages: str, bus: str = "can0") -> str:
    lines = "\n".join(messages)
    return (
        '<NetworkDefinition xmlns="http://kayak.2codeornot2code.org/1.0">\n'
        f'<Bus name="{bus}">\n{lines}\n</Bus>\n</NetworkDefinition>\n'
    )


def sym(*lines: str) -> str:
    return "\n".join(["FormatVersion=6.0 // Do not edit this line!", 'Title="t"', *lines, ""])


def message(name: str, can_id: int, *signals: str, length: int | str = 8) -> str:
    return f'<Message id="0x{can_id:x}" name="{name}" length="{length}">{"".join(signals)}</Message>'


@pytest.mark.parametrize("kind", KINDS)
def test_definitions_say_what_cantools_has_loaded(kind: str) -> None:
    path = DATA / f"drive.{kind}"
    loaded = load(path)
    assert loaded.problems == ()
    database: Any = cantools.database.load_file(path, encoding="utf-8", strict=False)
    by_id = {definition.can_id: definition for definition in loaded.messages}
    assert len(by_id) == len(database.messages)
    for said in database.messages:
        definition = by_id[said.frame_id | (EXTENDED if said.is_extended_frame else 0)]
        named = (definition.name, definition.length, definition.cycle_ms)
        assert named == (said.name, said.length, said.cycle_time or 0)
        ours = sorted(map(repr, map(as_defined, definition.signals)))
        assert ours == sorted(map(repr, map(as_cantools_says, said.signals)))


@pytest.mark.parametrize("kind", KINDS)
def test_the_line_that_describes_a_message_is_found(kind: str) -> None:
    path = DATA / f"drive.{kind}"
    lines = path.read_text(encoding="utf-8").splitlines()
    for definition in load(path).messages:
        file, line = find_message([path], definition)
        assert file == str(path)
        assert definition.name in "".join(lines[line - 1 : line + 1])


def test_a_29_bit_message_with_an_spn_is_one_of_j1939() -> None:
    by_name = {message.name: message.j1939 for message in load(DATA / "drive.sym").messages}
    assert by_name == {"Engine": False, "Modes": False, "Long": False, "Fuel": True}


def test_a_message_that_cannot_be_read_costs_itself(tmp_path: Path) -> None:
    sound = message("Sound", 1, '<Signal name="a" offset="0" length="8"/>')
    text = kcd(
        '<Message name="NoId"/>',
        message("Endless", 2, length="many"),
        message("Far", 0x8000_0000),
        message("Signs", 3, '<Signal name="b" offset="one"/>'),
        sound,
    )
    loaded = load(written(tmp_path, "car.kcd", text))
    assert [found.name for found in loaded.messages] == ["Sound"]
    assert [(p.line, p.message, p.severity) for p in loaded.problems] == [
        (line, name, Severity.SKIPPED) for line, name in ((3, "NoId"), (4, "Endless"), (5, "Far"), (6, "Signs"))
    ]
    assert all(problem.reason.startswith("message left out, it cannot be read: ") for problem in loaded.problems)


def test_messages_are_judged_as_those_of_dbc_files_are(tmp_path: Path) -> None:
    """cantools refuses the whole of such a file, for any of these."""
    signals = [
        '<Signal name="wide" offset="0" length="65"/>',
        '<Signal name="far" offset="60" length="8"/>',
        '<Signal name="base" offset="0" length="8"/>',
        '<Signal name="over" offset="4" length="8"/>',
        '<Signal name="vast" offset="16" length="8"><Value slope="1e999"/></Signal>',
        '<Signal name="none" offset="16" length="8"><Value intercept="nan"/></Signal>',
        '<Signal name="short" offset="24" length="24"><Value type="single"/></Signal>',
    ]
    path = written(tmp_path, "car.kcd", kcd(message("Mixed", 1, *(f"\n{signal}" for signal in signals))))
    loaded = load(path)
    assert [signal.name for signal in loaded.messages[0].signals] == ["base", "over", "short"]
    assert [(problem.line, problem.signal) for problem in loaded.problems] == [
        (4, "wide"), (5, "far"), (7, "over"), (8, "vast"), (9, "none"), (10, "short"),
    ]  # fmt: skip
    assert "signal overlaps base (line 6), all are decoded" in {problem.reason for problem in loaded.problems}


def test_signals_of_one_name_keep_their_own_value_tables(tmp_path: Path) -> None:
    group = (
        '<MuxGroup count="{n}"><Signal name="state" offset="{at}" length="8">'
        '<LabelSet><Label name="is {n}" value="1"/></LabelSet></Signal></MuxGroup>'
    )
    groups = "".join(group.format(n=n, at=8 * n) for n in (1, 2))
    text = kcd(message("Muxed", 1, f'<Multiplex name="page" offset="0" length="4">{groups}</Multiplex>'))
    first, second = load(written(tmp_path, "car.kcd", text)).messages[0].signals[1:]
    assert (first.start, first.choices, first.selected_when) == (8, ((1, "is 1"),), ((1, 1),))
    assert (second.start, second.choices, second.selected_when) == (16, ((1, "is 2"),), ((2, 2),))


def test_a_limit_on_one_side_is_no_problem(tmp_path: Path) -> None:
    signal = '<Signal name="a" offset="0" length="8"><Value max="200"/></Signal>'
    loaded = load(written(tmp_path, "car.kcd", kcd(message("M", 1, signal))))
    assert loaded.problems == ()
    assert (loaded.messages[0].signals[0].minimum, loaded.messages[0].signals[0].maximum) == (None, 200)


def test_of_several_buses_that_of_the_configured_name_is_loaded(tmp_path: Path) -> None:
    text = kcd(message("Here", 1), bus="Powertrain").replace(
        "</NetworkDefinition>", f'<Bus name="Body">{message("There", 1)}</Bus></NetworkDefinition>'
    )
    path = written(tmp_path, "car.kcd", text)
    loaded = load(path, "body")
    assert [found.name for found in loaded.messages] == ["There"]
    assert str(loaded.problems[0]).endswith(
        "note: the file describes 2 buses (Powertrain, Body), messages of Body are loaded"
    )
    loaded = load(path, "can0")
    assert [found.name for found in loaded.messages] == ["Here"]
    assert [problem.severity for problem in loaded.problems] == [Severity.NOTE, Severity.SKIPPED]


def test_a_message_whose_reference_leads_nowhere_is_left_out_and_named(tmp_path: Path) -> None:
    text = (DATA / "drive.arxml").read_text(encoding="utf-8")
    without = text.replace('DEST="I-SIGNAL-I-PDU">/Pdus/LongPdu<', 'DEST="I-SIGNAL-I-PDU">/Pdus/Nowhere<')
    loaded = load(written(tmp_path, "car.arxml", without))
    assert [found.name for found in loaded.messages] == ["Engine", "Modes"]
    assert loaded.problems[0].line == 1 + text[: text.index("<SHORT-NAME>Long<")].count("\n") - 1
    assert [(p.message, p.severity) for p in loaded.problems] == [("Long", Severity.SKIPPED)]


@pytest.mark.parametrize(
    ("category", "loaded_signals"), [("IDENTICAL", 4), ("BITFIELD_TEXTTABLE", 4), ("RAT_FUNC", 3), ("TAB_NOINTP", 3)]
)
def test_a_signal_whose_scaling_is_not_linear_is_left_out(tmp_path: Path, category: str, loaded_signals: int) -> None:
    text = (DATA / "drive.arxml").read_text(encoding="utf-8")
    text = text.replace("<CATEGORY>TEXTTABLE<", f"<CATEGORY>{category}<")
    loaded = load(written(tmp_path, "car.arxml", text))
    assert [len(found.signals) for found in loaded.messages if found.name == "Engine"] == [loaded_signals]
    assert [problem.signal for problem in loaded.problems] == ["Gear"] * (4 - loaded_signals)


def test_a_scaling_of_several_segments_is_left_out(tmp_path: Path) -> None:
    text = (DATA / "drive.arxml").read_text(encoding="utf-8")
    begin, end = text.index("<COMPU-SCALE><LOWER-LIMIT>0<"), text.index("</COMPU-SCALES>", text.index("Gears</SHORT"))
    scale = (
        "<COMPU-SCALE><LOWER-LIMIT>{0}</LOWER-LIMIT><UPPER-LIMIT>{1}</UPPER-LIMIT><COMPU-RATIONAL-COEFFS>"
        "<COMPU-NUMERATOR><V>0</V><V>{0}</V></COMPU-NUMERATOR><COMPU-DENOMINATOR><V>1</V></COMPU-DENOMINATOR>"
        "</COMPU-RATIONAL-COEFFS></COMPU-SCALE>"
    )
    text = text[:begin] + scale.format(1, 7) + scale.format(8, 14) + text[end:]
    text = text.replace("<CATEGORY>TEXTTABLE<", "<CATEGORY>SCALE_LINEAR_AND_TEXTTABLE<")
    loaded = load(written(tmp_path, "car.arxml", text))
    assert [(problem.signal, problem.severity) for problem in loaded.problems] == [("Gear", Severity.SKIPPED)]
    assert loaded.problems[0].reason == "signal left out, it cannot be read: its scaling has several segments"


def test_what_a_container_holds_is_left_out_and_named(tmp_path: Path) -> None:
    text = (DATA / "drive.arxml").read_text(encoding="utf-8")
    box = (
        "<CONTAINER-I-PDU><SHORT-NAME>Box</SHORT-NAME><LENGTH>64</LENGTH><CONTAINED-PDU-TRIGGERING-REFS>"
        '<CONTAINED-PDU-TRIGGERING-REF DEST="PDU-TRIGGERING">/Pdus/Sent</CONTAINED-PDU-TRIGGERING-REF>'
        "</CONTAINED-PDU-TRIGGERING-REFS><HEADER-TYPE>SHORT-HEADER</HEADER-TYPE></CONTAINER-I-PDU>"
        "<PDU-TRIGGERING><SHORT-NAME>Sent</SHORT-NAME>"
        '<I-PDU-REF DEST="I-SIGNAL-I-PDU">/Pdus/StaticPdu</I-PDU-REF></PDU-TRIGGERING><MULTIPLEXED-I-PDU>'
    )
    props = (
        "<SHORT-NAME>StaticPdu</SHORT-NAME><CONTAINED-I-PDU-PROPS><HEADER-ID-SHORT-HEADER>1</HEADER-ID-SHORT-HEADER>"
        "</CONTAINED-I-PDU-PROPS>"
    )
    text = text.replace("<MULTIPLEXED-I-PDU>", box).replace("<SHORT-NAME>StaticPdu</SHORT-NAME>", props)
    text = text.replace('DEST="I-SIGNAL-I-PDU">/Pdus/LongPdu<', 'DEST="CONTAINER-I-PDU">/Pdus/Box<')
    loaded = load(written(tmp_path, "car.arxml", text))
    assert {found.name: len(found.signals) for found in loaded.messages} == {"Engine": 4, "Modes": 5, "Long": 0}
    assert [problem.reason for problem in loaded.problems] == [
        "the 1 messages that it contains are left out, containers are not decoded"
    ]


def test_the_encoding_of_an_xml_declaration_counts(tmp_path: Path) -> None:
    signal = '<Signal name="a" offset="0" length="8"><Value unit="°C"/></Signal>'
    path = tmp_path / "car.kcd"
    path.write_bytes(f'<?xml version="1.0" encoding="ISO-8859-1"?>{kcd(message("M", 1, signal))}'.encode("latin-1"))
    loaded = load(path)
    assert (loaded.messages[0].signals[0].unit, loaded.files[0].encoding) == ("°C", "cp1252")
    assert loaded.problems == ()


BROKEN = {
    "xml": (
        "car.kcd",
        kcd('<Message id="1" name="Open">\n'),
        "line 5: it cannot be read as a KCD file: mismatched tag",
    ),
    "sym": ("car.sym", sym("{SEND}", "[A] 1"), "line 4: it cannot be read as a SYM file: "),
    "sym 5": ("car.sym", "FormatVersion=5.0\n", "Only SYM version 6.0 is supported"),
    "namespace": ("car.kcd", "<NetworkDefinition/>", "its root element is NetworkDefinition"),
    "arxml 9": ("car.arxml", '<AUTOSAR xmlns="http://example.com"/>', "Unrecognized XML namespace"),
    "empty arxml": ("car.arxml", '<AUTOSAR xmlns="http://autosar.org/schema/r4.0"/>', "it has no AR-PACKAGES"),
    "entities": ("car.kcd", '<!DOCTYPE a [<!ENTITY b "c">]>' + kcd(), "it declares a document type or entities"),
    "dbc": ("car.sym", 'VERSION ""\nBO_ 1 A: 8 X\n', "this is a DBC file, which is to be called *.dbc"),
    "arxml as kcd": ("car.kcd", '<AUTOSAR xmlns="x"/>', "this is an ARXML file, which is to be called *.arxml"),
    "text": ("car.arxml", "hello\n", "this is not an ARXML file"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_file_of_which_nothing_can_be_read_is_refused_in_one_line(tmp_path: Path, case: str) -> None:
    name, text, reason = BROKEN[case]
    path = written(tmp_path, name, text)
    with pytest.raises(DatabaseError) as raised:
        load(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert reason in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_cdd_file_is_refused_by_what_it_holds() -> None:
    with pytest.raises(DatabaseError, match=r"a CDD file describes diagnostics \(1 data identifiers\), no CAN frames"):
        load(DATA / "drive.cdd")


def test_a_range_of_more_ids_than_are_read_costs_its_message(tmp_path: Path) -> None:
    text = sym("{SEND}", "[Many]", "ID=00000000h-1FFFFFFFh", "Len=8", "[One]", "ID=001h", "Len=8")
    loaded = load(written(tmp_path, "car.sym", text))
    assert [found.name for found in loaded.messages] == ["One"]
    assert [(p.line, p.message) for p in loaded.problems] == [(4, "Many")]
