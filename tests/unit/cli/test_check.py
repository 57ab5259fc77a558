# SPDX-License-Identifier: Apache-2.0
"""`canferry check`: an error is what `run` refuses, a warning what it lives with; what is printed."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest

from agent import cli
from agent.config import demo_car_dbc
from tests.support.checking import CONFIG, Checked, offline

if TYPE_CHECKING:
    from pathlib import Path


def test_a_wrong_configuration_tells_all_that_is_wrong_with_it(checked: Checked) -> None:
    status, findings = checked.run(offline() + 'keepalive = "30"\nkeepalve = 1\n')
    assert status == 2
    assert [finding["text"].split(":")[0] for finding in findings] == ["mqtt.keepalve", "mqtt.keepalive"]


def test_the_report_is_readable(checked: Checked, capsys: pytest.CaptureFixture[str]) -> None:
    checked.file.write_text(offline())
    assert cli.main(["check", "--config", str(checked.file), "--offline"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"ok       {checked.file}: vehicle demo-0001, buses car (simulator)"
    assert lines[-1] == "0 errors, 0 warnings: canferry run would start"


def test_a_missing_file_is_an_error_on_its_own(checked: Checked, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", "--config", "/nowhere/agent.toml"]) == 2
    assert capsys.readouterr().err == "error    /nowhere/agent.toml: cannot be read: No such file or directory\n"


def test_every_dbc_file_that_cannot_be_read_is_named(checked: Checked) -> None:
    (checked.folder / "not.dbc").write_text("nothing of a DBC")
    text = offline().replace('"small.dbc"', '"gone.dbc", "not.dbc", "small.dbc"')
    status, findings = checked.run(text, "--offline")
    assert status == 2
    errors = [finding["subject"] for finding in findings if finding["level"] == "error"]
    assert errors == ["bus[car].dbc", "bus[car].dbc"]
    assert [finding["text"].split(": ")[0] for finding in findings if finding["level"] == "error"] == [
        str(checked.folder / "gone.dbc"),
        str(checked.folder / "not.dbc"),
    ]
    assert any(finding["subject"].startswith(str(checked.folder / "small.dbc")) for finding in findings)


def test_a_broken_line_of_a_dbc_file_is_a_warning_with_its_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "some.dbc"
    lines = ["BU_: X", "BO_ 1 GOOD: 8 X", ' SG_ A : 0|8@1+ (1,0) [0|0] "" X', ' SG_ B : broken "" X', ""]
    file.write_text("\n".join(lines))
    assert cli.main(["check", "--dbc", str(file)]) == 0
    out = capsys.readouterr().out
    assert f"warning  {file}: 1 messages, 1 signals, loaded in part" in out
    assert f"\n    {file}:4: skipped: " in out
    assert out.endswith("0 errors, 1 warning: all are usable\n")


def test_dbc_files_are_checked_each_by_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = tmp_path / "copy.dbc"
    copy.write_bytes(demo_car_dbc().read_bytes())
    assert cli.main(["check", "--dbc", str(demo_car_dbc()), str(copy), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [(file["messages"], file["problems"]) for file in document["databases"]] == [(24, []), (24, [])]


RULES = """
[[collect]]
message = "BRAKE_PRESSURE"
every = "1s"
[[trigger]]
name = "hard_braking"
when = "MASTER_PRESSURE > 80"
record = "*PRESSURE*"
"""


def ruled(rules: str) -> str:
    """Of the simulated car, as the DBC file that comes with it has it."""
    return offline(CONFIG.replace('dbc = ["small.dbc"]', "") + rules)


def test_the_plan_of_what_is_kept_is_shown(checked: Checked) -> None:
    status, findings = checked.run(ruled(RULES), "--offline")
    assert status == 0
    (plan,) = [finding for finding in findings if finding["subject"] == "collect"]
    assert "1 rules, 1 triggers: 8 signals kept, about " in plan["text"]
    assert plan["details"][1].split()[:5] == ["car.BRAKE_PRESSURE", "normal", "8", "of", "8"]
    assert plan["details"][-1].startswith("trigger hard_braking: critical, records *PRESSURE* from 10s before")


def test_the_plan_fits_a_terminal_and_is_whole_in_a_pipe(
    checked: Checked, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    checked.file.write_text(ruled(RULES))
    monkeypatch.setenv("COLUMNS", "70")

    def details() -> list[str]:
        cli.main(["check", "--config", str(checked.file), "--offline"])
        return [line for line in capsys.readouterr().out.splitlines() if line.startswith(" ")]

    wide = details()
    assert max(map(len, wide)) > 70
    assert (
        "trigger hard_braking: critical, records *PRESSURE* from 10s before to 10s after MASTER_PRESSURE > 80"
        in wide[-1]
    )
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    narrow = details()
    assert max(map(len, narrow)) <= 70
    assert sorted(" ".join(narrow).split()) == sorted(" ".join(wide).split())


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("BRAKE_PRESSURE", "BREAK_PRESSURE", 'collect[#1].message: the DBC files have no message "BREAK_PRESSURE"'),
        ("MASTER_PRESSURE", "MASTR_PRESSURE", 'trigger[hard_braking].when: the DBC files have no signal "MASTR_'),
        ("> 80", "> 800", "trigger[hard_braking].when: "),
        ("> 80", "> 80 [kPa]", "trigger[hard_braking].when: "),
    ],
)
def test_a_rule_that_does_not_fit_the_dbc_files_is_refused(checked: Checked, old: str, new: str, told: str) -> None:
    assert told in checked.only(ruled(RULES.replace(old, new)), "error", "--offline")
