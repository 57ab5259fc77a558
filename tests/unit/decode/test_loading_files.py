# SPDX-License-Identifier: Apache-2.0
"""What is no DBC file at all, and how text is read."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from agent.decode.loading import load_databases
from agent.decode.report import describe
from agent.errors import DatabaseError

if TYPE_CHECKING:
    from pathlib import Path

SOUND = 'BO_ 16 Sound: 8 ECU\n SG_ level : 0|8@1+ (1,0) [0|0] "°C" ECU\n'

FOREIGN = {
    "empty": (b"", "is empty"),
    "blank": (b"  \n\n", "is empty"),
    "png": (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "binary file"),
    "rubbish": (bytes(range(256)), "binary file"),
    "kcd": (b'<?xml version="1.0"?>\n<NetworkDefinition xmlns="http://kayak.2codeornot2code.org/1.0">', "a KCD file"),
    "arxml": (b'<?xml version="1.0"?>\n<AUTOSAR xmlns="http://autosar.org/schema/r4.0">', "an ARXML file"),
    "html": (b"<!DOCTYPE html>\n<html><body>BO_ 1</body></html>", "an XML or HTML file"),
    "sym": (b'FormatVersion=6.0 // Do not edit this line!\nTitle="x"\n', "a SYM file"),
    "json": (b'{"messages": []}', "a JSON file"),
    "text": (b"dear driver,\nthe car is fine\n", "not a DBC file"),
}


@pytest.mark.parametrize(("content", "reason"), FOREIGN.values(), ids=FOREIGN.keys())
def test_what_is_no_dbc_file_is_refused_in_one_line(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "car.dbc"
    path.write_bytes(content)
    with pytest.raises(DatabaseError) as raised:
        load_databases([("can0", path)])
    text = str(raised.value)
    assert text.startswith(f"{path}: ")
    assert reason in text
    assert "a DBC file" in text
    assert "\n" not in text


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError, match="there is no such file"):
        load_databases([("can0", tmp_path / "gone.dbc")])
    with pytest.raises(DatabaseError, match="this is a folder"):
        load_databases([("can0", tmp_path)])


@pytest.mark.parametrize(
    ("encoding", "read_as", "line"),
    [("utf-8", "utf-8", 0), ("utf-8-sig", "utf-8", 0), ("cp1252", "cp1252", 2), ("utf-16", "utf-16", 0)],
)
def test_text_is_read_in_the_encoding_that_fits(tmp_path: Path, encoding: str, read_as: str, line: int) -> None:
    path = tmp_path / "car.dbc"
    path.write_bytes(SOUND.encode(encoding))
    loaded = load_databases([("can0", path)])
    assert loaded.messages[0].signals[0].unit == "°C"
    assert loaded.files[0].encoding == read_as
    assert [problem.line for problem in loaded.problems] == ([line] if line else [])


def test_bytes_that_no_encoding_has_are_read_as_latin_1(tmp_path: Path) -> None:
    path = tmp_path / "car.dbc"
    path.write_bytes(SOUND.encode("latin-1") + b'CM_ "\x9d";\n')
    loaded = load_databases([("can0", path)])
    assert (loaded.files[0].encoding, len(loaded.messages)) == ("latin-1", 1)


def test_a_report_is_plain_and_readable(tmp_path: Path) -> None:
    path = tmp_path / "car.dbc"
    path.write_text(SOUND + "hello\n")
    loaded = load_databases([("can0", path)])
    (report,) = json.loads(json.dumps(describe(loaded)))
    assert (report["messages"], report["signals"], report["notes"], report["how"]) == (1, 1, 1, "as written")
    assert report["problems"][0]["line"] == 3
    assert str(loaded.files[0].problems[0]) == f"{path}:3: note: line is not a DBC statement and left out: hello"


def test_no_file_is_no_message() -> None:
    assert load_databases([]).messages == ()
