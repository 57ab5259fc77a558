# SPDX-License-Identifier: Apache-2.0
"""What is wrong with what a command was given: one line on stderr that says what and where, and the right status.

Each command is asked in this process about all that can be wrong, and once as a process of its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent import cli
from tests.support.mosquitto import Certificates, free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Refused = Callable[..., None]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

ROOT = Path(__file__).parents[2]
CONFIG = """
[vehicle]
id = "car-1"
[[bus]]
name = "car"
interface = "replay"
channel = "good.log"
dbc = ["good.dbc"]
[spool]
path = "spool"
[mqtt]
broker = "mqtt://127.0.0.1:{port}"
backoff_max = "1s"
[agent]
shutdown_grace = "0s"
[log]
level = "error"
"""
DBC = 'VERSION ""\nBU_: X\nBO_ 1 M: 8 X\n SG_ A : 0|8@1+ (1,0) [0|0] "" X\n'
TLS = [('"mqtt://', '"mqtts://')]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates.make(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def folder(tmp_path: Path, certificates: Certificates) -> Path:
    """What the commands are given: good and bad ones of each kind."""
    (tmp_path / "good.dbc").write_text(DBC)
    (tmp_path / "bad.dbc").write_text("nothing of a DBC\n")
    (tmp_path / "good.log").write_text("(1700000000.000000) car 001#2A\n")
    (tmp_path / "bad.log").write_text("nothing of a log\n")
    (tmp_path / "bad.blf").write_bytes(bytes(range(256)) * 8)
    (tmp_path / "a_file").write_text("in the way")
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.batch.zst").write_bytes(b"no zstd at all")
    (tmp_path / "car.crt").write_bytes(certificates.client.read_bytes())
    (tmp_path / "other.key").write_bytes(certificates.server_key.read_bytes())
    return tmp_path


def config(folder: Path, changes: Sequence[tuple[str, str]] = (), port: int | None = None) -> str:
    """A configuration file, sound but for the changes."""
    text = CONFIG.format(port=port or free_port())
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (folder / "agent.toml").write_text(text)
    return "agent.toml"


def canferry(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "agent", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def one_line(status: int, errors: str, expected: int, words: Sequence[str]) -> None:
    """It ended so, and its one line on stderr has all of these words."""
    assert errors.count("\n") == 1, errors
    assert status == expected, errors
    assert all(word in errors for word in words), errors
    assert "Traceback" not in errors


@pytest.fixture
def refused(folder: Path, capfd: pytest.CaptureFixture[str]) -> Refused:
    """Sees that the command, run in this process, ends with the status and says the words in its one line."""

    def see(status: int, words: Sequence[str], *arguments: str) -> None:
        with contextlib.chdir(folder):
            ended = cli.main(arguments)
        one_line(ended, capfd.readouterr().err, status, words)

    return see


WRONG_CONFIGS = {
    "key": ([("[agent]", "[agent]\ntickk = 1")], ["agent.toml", "agent.tickk", "tick"]),
    "value": ([('"0s"', '"soon"')], ["agent.toml", "agent.shutdown_grace", '"soon"']),
    "TOML": ([("[agent]", "[agent")], ["agent.toml", "not valid TOML", "line"]),
    "DBC is no DBC": ([("good.dbc", "bad.dbc")], ["bus[car].dbc", "bad.dbc", "not a DBC file"]),
    "DBC is missing": ([("good.dbc", "gone.dbc")], ["bus[car].dbc", "gone.dbc", "no such file"]),
    "authority is missing": ([*TLS, ("[agent]", 'ca = "gone.pem"\n[agent]')], ["mqtt.ca", "gone.pem"]),
    "authority is none": ([*TLS, ("[agent]", 'ca = "bad.dbc"\n[agent]')], ["mqtt.ca", "bad.dbc", "not a PEM"]),
    "key of another certificate": (
        [*TLS, ("[agent]", 'certificate = "car.crt"\nkey = "other.key"\n[agent]')],
        ["mqtt.key", "other.key", "do not belong together"],
    ),
    "password is missing": (
        [("[agent]", 'username = "u"\npassword_file = "gone"\n[agent]')],
        ["mqtt.password_file", "gone"],
    ),
    "broker": ([('"mqtt://', '"http://')], ["agent.toml", "mqtt.broker", "http://"]),
    "log is missing": ([("good.log", "gone.log")], ["bus[car].channel", "gone.log", "no such file"]),
    "log is no log": ([("good.log", "bad.log")], ["bus[car].channel", "bad.log", "line 1", "not a frame"]),
    "log is no BLF": ([("good.log", "bad.blf")], ["bus[car].channel", "bad.blf"]),
    "interface": ([('"replay"', '"slcann"')], ["bus[car].interface", '"slcann"', 'did you mean "slcan"']),
    "rule": ([("[agent]", '[[collect]]\nsignal = "B"\n[agent]')], ["collect[#1].signal", 'no signal "B"']),
    "trigger": (
        [("[agent]", '[[trigger]]\nname = "t"\nwhen = "A > 300"\n[agent]')],
        ["trigger[t].when", '"A > 300" can never be true'],
    ),
    "integrity": (
        [("[agent]", '[[integrity]]\nmessage = "N"\ncounter = "A"\n[agent]')],
        ["integrity[#1].message", "no such message"],
    ),
    "spool": ([('"spool"', '"a_file/spool"')], ["spool.path", "a_file", "not a directory"]),
}


@pytest.mark.parametrize("command", ["run", "check"])
@pytest.mark.parametrize("wrong", WRONG_CONFIGS)
def test_run_and_check_refuse_the_same_with_the_same_words(
    folder: Path, refused: Refused, command: str, wrong: str
) -> None:
    changes, words = WRONG_CONFIGS[wrong]
    words = ["agent.toml: ", *words]
    refused(2, words, command, "--config", config(folder, changes), *["--offline"] * (command == "check"))
    left = {path.name for path in (folder / "spool").glob("*")}
    assert left <= {"definitions"}, "something was started, beside the DBC files' being read"


@pytest.mark.parametrize("command", ["run", "check"])
def test_a_configuration_that_is_missing_is_named(refused: Refused, command: str) -> None:
    refused(2, ["gone.toml", "No such file"], command, "--config", "gone.toml")


def test_a_kernel_without_socketcan_is_refused_by_both(folder: Path, refused: Refused) -> None:
    try:
        socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW).close()
    except OSError:
        file = config(folder, [('"replay"', '"socketcan"'), ("good.log", "can0")])
        for command in (["run"], ["check", "--offline"]):
            refused(2, ["bus[car].interface", "no SocketCAN"], *command, "--config", file)
    else:
        file = config(folder, [('"replay"', '"socketcan"'), ("good.log", "can97")])
        assert canferry(folder, "check", "--offline", "--config", file).returncode == 0


def test_a_sound_configuration_is_neither_refused_by_check_nor_by_run(folder: Path) -> None:
    file = config(folder)
    done = canferry(folder, "check", "--config", file, "--json")
    assert (done.returncode, done.stderr) == (0, ""), "a broker that is away is what run lives with"
    assert [each["subject"] for each in json.loads(done.stdout)["findings"] if each["level"] != "ok"] == ["mqtt.broker"]
    done = canferry(folder, "run", "--config", file)  # the log ends, and so does the agent
    assert (done.returncode, done.stderr) == (0, "")


def test_a_second_agent_on_the_same_spool_is_a_failure(folder: Path) -> None:
    from agent.spool.store import Spool, SpoolOptions

    spool = Spool.open(folder / "spool" / "normal", SpoolOptions(16 << 20))
    try:
        done = canferry(folder, "run", "--config", config(folder))
        one_line(done.returncode, done.stderr, 1, ["spool/normal", "another process has this spool open"])
    finally:
        spool.close()


@pytest.mark.parametrize(
    ("status", "words", "arguments"),
    [
        (2, ["gone.log", "No such file"], ["gone.log", "--dbc", "good.dbc", "--out", "out"]),
        (1, ["bad.log", "line 1", "not a frame"], ["bad.log", "--dbc", "good.dbc", "--out", "out"]),
        (1, ["bad.blf"], ["bad.blf", "--dbc", "good.dbc", "--out", "out"]),
        (1, ["good.dbc", "unknown log format"], ["good.dbc", "--dbc", "good.dbc", "--out", "out"]),
        (2, ["gone.dbc", "no such file"], ["good.log", "--dbc", "gone.dbc", "--out", "out"]),
        (2, ["bad.dbc", "not a DBC file"], ["good.log", "--dbc", "bad.dbc", "--out", "out"]),
        (2, ["gone.toml"], ["good.log", "--config", "gone.toml", "--out", "out"]),
        (2, ["--broker", "http://x"], ["good.log", "--dbc", "good.dbc", "--broker", "http://x"]),
        (1, ["a_file"], ["good.log", "--dbc", "good.dbc", "--out", "a_file"]),
        (2, ["--out", "required"], ["good.log", "--dbc", "good.dbc"]),
    ],
)
def test_replay_says_what_is_wrong(refused: Refused, status: int, words: list[str], arguments: list[str]) -> None:
    refused(status, words, "replay", *arguments)


def test_replay_to_a_broker_that_is_not_there_says_so_before_it_begins(folder: Path, refused: Refused) -> None:
    broker = f"127.0.0.1:{free_port()}"
    words = [broker, "connection refused"]
    refused(1, words, "replay", "good.log", "--dbc", "good.dbc", "--broker", f"mqtt://{broker}")
    file = config(folder, [*TLS, ("[agent]", 'ca = "gone.pem"\n[agent]')])
    refused(2, ["mqtt.ca", "gone.pem"], "replay", "good.log", "--config", file, "--broker", f"mqtts://{broker}")


@pytest.mark.parametrize(
    ("status", "words", "arguments"),
    [
        (1, ["{broker}", "connection refused"], ["mqtt://{broker}"]),
        (2, ["nonsense", "mqtts://"], ["nonsense"]),
        (2, ["--ca", "gone.pem", "no such file"], ["mqtts://{broker}", "--ca", "gone.pem"]),
        (2, ["--ca", "bad.dbc", "not a PEM"], ["mqtts://{broker}", "--ca", "bad.dbc"]),
        (
            2,
            ["--key", "other.key", "do not belong together"],
            ["mqtts://{broker}", "--certificate", "car.crt", "--key", "other.key"],
        ),
        (2, ["--password-file", "gone"], ["mqtt://{broker}", "--username", "u", "--password-file", "gone"]),
        (1, ["a_file"], ["mqtt://{broker}", "--out", "a_file"]),
    ],
)
def test_receive_says_what_is_wrong(refused: Refused, status: int, words: list[str], arguments: list[str]) -> None:
    broker = f"127.0.0.1:{free_port()}"
    out = [] if "--out" in arguments else ["--out", "received"]
    given = [argument.replace("{broker}", broker) for argument in arguments]
    refused(status, [word.replace("{broker}", broker) for word in words], "receive", "--broker", *given, *out)


@pytest.mark.parametrize(
    ("status", "words", "arguments"),
    [
        (2, ["gone", "no such file"], ["gone", "--format", "jsonl"]),
        (1, ["no batch to export"], ["empty", "--format", "jsonl"]),
        (1, ["bad.batch.zst", "damaged"], ["bad.batch.zst", "--format", "jsonl"]),
        (2, ["--format", "xml"], ["empty", "--format", "xml"]),
        (2, ["--out", "a_file/x.csv"], ["empty", "--format", "csv", "--out", "a_file/x.csv"]),
    ],
)
def test_export_says_what_is_wrong(refused: Refused, status: int, words: list[str], arguments: list[str]) -> None:
    refused(status, words, "export", *arguments)


def test_check_says_what_is_wrong_with_a_dbc_file(refused: Refused) -> None:
    refused(2, ["gone.dbc", "no such file"], "check", "--dbc", "gone.dbc")
    refused(2, ["bad.dbc", "not a DBC file"], "check", "--dbc", "good.dbc", "bad.dbc")


@pytest.mark.parametrize(
    ("status", "words", "arguments"),
    [
        (2, ["bad.toml", "not valid TOML", "line"], ["run", "--config", "bad.toml"]),
        (2, ["bad.toml", "not valid TOML", "line"], ["check", "--config", "bad.toml"]),
        (1, ["bad.log", "line 1", "not a frame"], ["replay", "bad.log", "--dbc", "good.dbc", "--out", "out"]),
        (2, ["--ca", "bad.dbc", "not a PEM"], ["receive", "--broker", "mqtts://x", "--ca", "bad.dbc", "--out", "out"]),
        (1, ["bad.batch.zst", "damaged"], ["export", "bad.batch.zst", "--format", "jsonl"]),
    ],
)
def test_a_process_says_it_in_one_line_too(folder: Path, status: int, words: list[str], arguments: list[str]) -> None:
    (folder / "bad.toml").write_text("[agent\n")
    done = canferry(folder, *arguments)
    one_line(done.returncode, done.stderr, status, words)
