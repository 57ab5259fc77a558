# SPDX-License-Identifier: Apache-2.0
"""A DBC file's text is read as it was written, in whatever encoding; where that is a guess, it is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import pytest

from agent.config.sections import DbcEncoding
from agent.decode.files import CODECS, SAMPLE_BYTES, decode
from agent.decode.loading import load_databases
from agent.decode.report import Severity

if TYPE_CHECKING:
    from pathlib import Path

WESTERN = (
    '"°C"',
    '"m/s²"',
    '"µs"',
    "Größe",
    "größer °C",
    "für Zähler, Öltemperatur °C",
    "Année créée",
    "température élevée: 20 °C ±3",
    "“quoted” text – dash",  # noqa: RUF001
    "kör på Ångström åäö",
    '"°/s" "°C" "°"',
    "»text«",
    "½",
)
CHINESE = (
    '"℃"',
    '"Ω"',
    "发动机转速",
    "电池温度℃ A相电流",
    "VCU电压CAN信号",
    "关闭提醒 触发提醒",
    "充电状态：0-未充电",  # noqa: RUF001
    "‰",
)
JAPANESE = (
    "エンジン回転数",
    '"℃" 温度',
    "機能 表 ソ",
    "車速 km/h 不可能",
    "ｴﾝｼﾞﾝ",
    '"°" 角度',
    "ステアリング舵角",
    "Ω 抵抗",
)
SAMPLES = [
    *(("cp1252", text) for text in WESTERN),
    *(("gbk", text) for text in CHINESE),
    *(("shift_jis", text) for text in JAPANESE),
]


def dbc(unit: str, meaning: str = "an") -> str:
    return f'BO_ 16 A: 8 ECU\n SG_ Temp : 0|8@1+ (1,0) [0|0] "{unit}" ECU\nVAL_ 16 Temp 1 "{meaning}" ;\n'


@pytest.mark.parametrize(("encoding", "text"), SAMPLES)
def test_text_is_found_in_its_encoding(encoding: str, text: str) -> None:
    written = f'CM_ "first";\nCM_ "{text}";\n'
    decoded = decode(written.encode(encoding))
    assert (decoded.text, decoded.encoding, decoded.line) == (written, encoding, 2)
    assert decoded.reason == f"text that is not UTF-8, the file is read as {encoding}"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_text_in_unicode_needs_no_guess(encoding: str) -> None:
    written = dbc("℃", "für 表示")
    mark = "\ufeff" if encoding in ("utf-16-le", "utf-16-be") else ""
    decoded = decode((mark + written).encode(encoding))
    assert (decoded.text.removeprefix("\ufeff"), decoded.line, decoded.reason) == (written, 0, "")


def test_one_foreign_byte_in_utf_8_costs_itself() -> None:
    decoded = decode("\n".join(["°C für ℃"] * 5).encode() + b"\n20 \xb0C \x80 \x81\n")
    assert decoded.text == "°C für ℃\n" * 5 + "20 °C € \x81\n"
    assert (decoded.encoding, decoded.line) == ("utf-8", 6)


def test_what_the_configuration_says_counts_and_a_mark_more() -> None:
    ambiguous = "ÄÖÜ".encode("cp1252")  # as half-width kana it is sound, too
    assert decode(ambiguous, "cp1252").text == "ÄÖÜ"
    assert decode(ambiguous, "shift_jis").text == "ﾄﾖﾜ"
    assert decode("速℃".encode("utf-8-sig"), "gbk").text == "速℃"
    assert decode("速".encode("utf-16-le"), "utf-16").text == "速"


def test_bytes_that_the_encoding_lacks_are_told_with_their_line() -> None:
    decoded = decode("表示\n機能".encode("cp932") + b"\n\x81\n", "shift_jis")
    assert decoded.text.startswith("表示\n機能\n\ufffd")
    assert (decoded.line, decoded.reason) == (3, "text that is not shift_jis, left out")


@pytest.mark.parametrize("encoding", CODECS)
def test_no_bytes_break_an_encoding(encoding: str) -> None:
    content = bytes(range(256)) * 3
    assert decode(content, encoding).text


@pytest.mark.parametrize("text", ["für ", "发动机转速℃", "ｴﾝｼﾞﾝ回転数"])
def test_the_looking_is_bounded(text: str) -> None:
    encoding = {"für ": "cp1252", "发动机转速℃": "gbk"}.get(text, "shift_jis")
    content = (text * SAMPLE_BYTES).encode(encoding)[:-1]
    assert decode(content).encoding == encoding


def test_a_value_table_whose_text_ends_in_a_backslash_byte_is_there(tmp_path: Path) -> None:
    path = tmp_path / "car.dbc"
    content = dbc("表", "不可能").encode("shift_jis")
    assert content.count(b'\\"') == 2
    path.write_bytes(content)
    loaded = load_databases([("can0", path)])
    (signal,) = loaded.messages[0].signals
    assert (signal.unit, signal.choices) == ("表", ((1, "不可能"),))
    (problem,) = loaded.problems
    assert (problem.line, problem.severity) == (2, Severity.NOTE)
    assert loaded.files[0].encoding == "shift_jis"


def test_chinese_names_and_units_are_readable(tmp_path: Path) -> None:
    path = tmp_path / "car.dbc"
    path.write_bytes(dbc("℃").replace("Temp", "温度_W").encode("gbk"))
    (signal,) = load_databases([("can0", path)]).messages[0].signals
    assert (signal.name, signal.unit) == ("温度_W", "℃")


def test_an_encoding_by_bus_is_taken_for_its_files(tmp_path: Path) -> None:
    path = tmp_path / "car.dbc"
    path.write_bytes(dbc("°").encode("cp1251"))
    loaded = load_databases([("can0", path), ("can1", path)], encodings={"can1": "cp1251"})
    assert [report.encoding for report in loaded.files] == ["cp1252", "cp1251"]
    assert loaded.files[1].problems == ()


def test_the_configuration_takes_what_can_be_read() -> None:
    assert get_args(DbcEncoding) == ("auto", *CODECS)
