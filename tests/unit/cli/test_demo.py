# SPDX-License-Identifier: Apache-2.0
"""`canferry demo` as a command: arguments, exit status, what goes to stdout; what it plays is put in its place."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from agent import cli
from agent.cli import demo
from agent.cli.demo_run import runner
from agent.cli.demo_run.outcome import Outcome
from agent.cli.demo_run.scenario import Scenario
from agent.errors import ConfigError, SpoolError

if TYPE_CHECKING:
    from pathlib import Path

GOOD = Outcome(
    seconds=20.0,
    frames=20_000,
    frames_received=20_000,
    samples_sent=120_000,
    samples_received=120_000,
    duplicates_dropped=1,
    gaps=0,
    outage_s=6.0,
    backlog_bytes_max=20_000,
    batches=21,
    batches_received=21,
    batch_bytes=60_000,
    json_bytes=4_400_000,
    received_bytes=60_000,
    link_bytes=75_000,
    latency_s=0.4,
    latency_s_max=7.5,
    reconnect_s=0.3,
    drained_s=3.1,
)
CONTRACT = {
    "seconds",
    "frames",
    "samples_sent",
    "samples_received",
    "samples_lost",
    "duplicates_dropped",
    "gaps",
    "outage_s",
    "backlog_bytes_max",
    "bytes_per_frame",
    "bytes_ratio_json",
}


def playing(monkeypatch: pytest.MonkeyPatch, outcome: Outcome | Exception, gaps: list[str] | None = None) -> list[Path]:
    """Put an outcome in the place of the performance; the folders it was given."""
    folders: list[Path] = []

    async def play(_scenario: object, _view: object, _log_capture: object, folder: Path) -> Any:
        assert folder.is_dir()
        folders.append(folder)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome, gaps or []

    monkeypatch.setattr(runner, "play", play)
    return folders


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--outage", "20"], "--outage 20"),
        (["--seconds", "4", "--outage", "4"], "--outage 4"),
        (["--outage", "-1"], "--outage -1"),
        (["--outage", "nan"], "--outage nan"),
        (["--seconds", "-5"], "--seconds -5"),
        (["--seconds", "0"], "--seconds 0"),
        (["--seconds", "inf"], "--seconds inf"),
        (["--seconds", "soon"], "'soon'"),
        (["--minutes", "1"], "--minutes"),
    ],
)
def test_a_wrong_argument_is_one_line_and_status_2(
    arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["demo", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert named in err


def test_without_the_extra_one_line_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "find_spec", lambda name: None if name == "amqtt" else name)
    assert cli.main(["demo"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "amqtt" in err
    assert "pip install 'canferry[demo]'" in err


def test_json_is_one_object_with_the_keys_of_the_contract(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = playing(monkeypatch, GOOD)
    assert cli.main(["demo", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result.keys() >= CONTRACT
    assert result["samples_lost"] == 0
    assert result["bytes_per_frame"] == 3.0
    assert result["bytes_ratio_json"] == 73.3
    assert not folders[0].exists()


def test_the_table_says_what_was_sent_received_and_lost(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    playing(monkeypatch, GOOD)
    assert cli.main(["demo"]) == 0
    out = capsys.readouterr().out
    for text in ("120,000 samples in 20,000 frames", "0 samples lost", "3.00", "73 times", "20.0 kB at most", "Next"):
        assert text in out


@pytest.mark.parametrize(
    "outcome",
    [
        replace(GOOD, samples_received=119_999),
        replace(GOOD, samples_received=120_001),
        replace(GOOD, frames_received=19_999),
        replace(GOOD, gaps=1),
        replace(GOOD, frames=0, frames_received=0, samples_sent=0, samples_received=0),
    ],
)
def test_the_status_is_1_when_received_is_not_what_was_sent(monkeypatch: pytest.MonkeyPatch, outcome: Outcome) -> None:
    playing(monkeypatch, outcome)
    assert cli.main(["demo", "--json"]) == 1


def test_a_missing_sample_is_named_in_the_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    playing(monkeypatch, replace(GOOD, samples_received=119_000, gaps=1), ["demo-0001: missing, batch 3 of normal"])
    assert cli.main(["demo"]) == 1
    out = capsys.readouterr().out
    assert "1,000 samples are missing" in out
    assert "gap: demo-0001: missing, batch 3 of normal" in out
    assert "Next" not in out


def test_a_failing_agent_is_one_line_and_leaves_no_folder_behind(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = playing(monkeypatch, ExceptionGroup("tasks", [SpoolError("cannot append: no space left")]))
    assert cli.main(["demo"]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == "canferry: cannot append: no space left"
    assert not folders[0].exists()


def test_the_outage_lies_in_the_middle_and_fits_a_short_drive() -> None:
    assert Scenario.of(20, None) == Scenario(20, 6)
    assert Scenario.of(20, 6).cut_at_s == 7
    assert Scenario.of(6, None).outage_s == 2
    assert Scenario.of(6, 0).outage_s == 0
    with pytest.raises(ConfigError):
        Scenario.of(6, 6)


@pytest.mark.parametrize(("seconds", "outage_s"), [(2, 0), (2, 1.9), (20, 6), (3600, 3599)])
def test_the_backlog_leaves_faster_than_it_comes(seconds: float, outage_s: float) -> None:
    scenario = Scenario.of(seconds, outage_s)
    assert scenario.backlog_rate >= scenario.backlog_expected_bytes / 4
