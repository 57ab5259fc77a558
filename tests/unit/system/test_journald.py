# SPDX-License-Identifier: Apache-2.0
"""Entries as systemd's journal takes them, read back from a real datagram socket in its place."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from agent.system import journald
from agent.system.journald import (
    ENTRY_BYTES_MAX,
    NAME_LENGTH_MAX,
    VALUE_BYTES_MAX,
    Journal,
    entry,
    is_connected,
    name_of,
)
from agent.system.log import Logging, configure_logging

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LINE = {"level": "warning", "event": "link_lost", "bus": "can0", "failures": 3, "hint": "look at the modem"}


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[socket.socket]:
    """The journal: a socket that never waits."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.bind(str(tmp_path / "socket"))
        yield sock


def fields(content: bytes) -> dict[str, str]:
    """As the protocol says."""
    found = {}
    while content:
        head, _, rest = content.partition(b"\n")
        name, equals, value = head.partition(b"=")
        if not equals:
            length = int.from_bytes(rest[:8], "little")
            value, rest = rest[8 : 8 + length], rest[8 + length :]
            assert rest[:1] == b"\n"
            rest = rest[1:]
        found[name.decode()], content = value.decode(), rest
    return found


def read(sock: socket.socket) -> dict[str, str]:
    return fields(sock.recv(1 << 20))


def test_an_entry_has_a_message_for_people_and_every_field_by_its_name() -> None:
    assert fields(entry(LINE)) == {
        "MESSAGE": "link_lost bus=can0 failures=3 → look at the modem",
        "PRIORITY": "4",
        "CODE": "link_lost",
        "SYSLOG_IDENTIFIER": "canferry",
        "BUS": "can0",
        "FAILURES": "3",
        "HINT": "look at the modem",
    }


@pytest.mark.parametrize("value", ["two\nlines", "a=b", "", "ä→\x00", "\n"])
def test_any_value_comes_back_as_it_was(value: str) -> None:
    assert fields(entry({"level": "info", "event": "e", "reason": value}))["REASON"] == value


def test_what_is_no_text_is_json() -> None:
    told = fields(entry({"level": "info", "event": "e", "trusted": True, "none": None, "s": 0.5, "ids": [1, 2]}))
    assert (told["TRUSTED"], told["NONE"], told["S"], told["IDS"]) == ("true", "null", "0.5", "[1, 2]")


@pytest.mark.parametrize(
    ("field", "name"),
    [
        ("bus", "BUS"),
        ("late_s", "LATE_S"),
        ("_private", "PRIVATE"),
        ("0x1a", "FIELD_0X1A"),
        ("dash-ed é", "DASH_ED__"),
        ("message", "FIELD_MESSAGE"),
        ("priority", "FIELD_PRIORITY"),
        ("__", "FIELD_"),
        ("n" * 100, "N" * NAME_LENGTH_MAX),
    ],
)
def test_a_fields_name_is_one_that_the_journal_takes(field: str, name: str) -> None:
    assert name_of(field) == name


def test_an_entry_is_cut_to_what_a_datagram_holds() -> None:
    line = {"level": "error", "event": "e"} | {f"f{n}": "ä" * VALUE_BYTES_MAX for n in range(6)} | {"last": "short"}
    content = entry(line)
    assert len(content) <= ENTRY_BYTES_MAX
    told = dict(pair.partition(b"=")[::2] for pair in content.splitlines())
    assert told[b"CODE"] == b"e"
    assert len(told[b"F0"]) == VALUE_BYTES_MAX
    assert b"F5" not in told
    assert told[b"LAST"] == b"short"


def test_a_journal_that_has_no_room_is_told_what_it_missed(tmp_path: Path, listening: socket.socket) -> None:
    journal, sent = Journal(tmp_path / "socket"), 0
    while not journal.dropped:
        assert journal.send(LINE)
        sent += 1
    assert journal.send(LINE)
    assert journal.dropped == 2
    for _ in range(sent - 1):
        assert read(listening)["CODE"] == "link_lost"
    with pytest.raises(BlockingIOError):
        listening.recv(1)
    assert journal.send(LINE)
    dropped, line = read(listening), read(listening)
    assert (dropped["CODE"], dropped["COUNT"], dropped["PRIORITY"]) == ("lines_dropped", "2", "4")
    assert line["CODE"] == "link_lost"
    assert journal.dropped == 0


def test_no_journal_is_said_at_once(tmp_path: Path) -> None:
    assert not Journal(tmp_path / "socket").send(LINE)
    assert not Journal(tmp_path).send(LINE)


def environment(path: Path) -> dict[str, str]:
    status = path.stat()
    return {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}


def test_only_the_stream_that_the_manager_named_is_the_journals(tmp_path: Path) -> None:
    (tmp_path / "stderr").touch()
    (tmp_path / "elsewhere").touch()
    with (tmp_path / "stderr").open() as stderr, (tmp_path / "elsewhere").open() as elsewhere:
        named = environment(tmp_path / "stderr")
        assert is_connected(stderr.fileno(), named)
        assert not is_connected(elsewhere.fileno(), named)
        assert not is_connected(stderr.fileno(), {})
        assert not is_connected(10_000, named)


def say(tmp_path: Path, shape: Any = "auto") -> list[str]:
    """Log to a stream of the service manager's; its lines."""
    with (tmp_path / "stderr").open("w") as stream:
        journal = Journal(tmp_path / "socket")
        configure_logging("info", shape, stream, journal=journal, environment=environment(tmp_path / "stderr"))
        log = structlog.get_logger()
        log.debug("block_packed")
        log.warning("bus_down", bus="can0", hint="bring it up")
        try:
            (tmp_path / "missing").stat()
        except OSError:
            log.exception("client_failed", bus="can1")
    return (tmp_path / "stderr").read_text().splitlines()


def test_under_a_service_manager_lines_go_to_the_journal_with_their_fields(
    tmp_path: Path, listening: socket.socket
) -> None:
    assert say(tmp_path) == []
    down, failed = read(listening), read(listening)
    assert (down["CODE"], down["BUS"], down["PRIORITY"]) == ("bus_down", "can0", "4")
    assert down["MESSAGE"] == "bus_down bus=can0 was=interface_down → bring it up"
    assert (failed["CODE"], failed["PRIORITY"]) == ("client_failed", "3")
    assert "FileNotFoundError" in failed["EXCEPTION"]
    assert failed["MESSAGE"].splitlines()[-1].startswith("FileNotFoundError")
    with pytest.raises(BlockingIOError):
        listening.recv(1)


def test_without_a_journal_they_are_json_on_stderr(tmp_path: Path) -> None:
    down, failed = map(json.loads, say(tmp_path))
    assert list(down) == ["timestamp", "level", "event", "bus", "hint", "was"]
    assert failed["event"] == "client_failed"


def test_json_that_was_asked_for_stays_on_stderr(tmp_path: Path, listening: socket.socket) -> None:
    assert len(say(tmp_path, "json")) == 2
    with pytest.raises(BlockingIOError):
        listening.recv(1)


def test_the_priorities_are_those_of_syslog() -> None:
    import syslog

    assert [journald.PRIORITIES[level] for level in ("critical", "error", "warning", "info", "debug")] == [
        syslog.LOG_CRIT,
        syslog.LOG_ERR,
        syslog.LOG_WARNING,
        syslog.LOG_INFO,
        syslog.LOG_DEBUG,
    ]


def test_a_change_of_the_level_keeps_the_count_of_what_had_no_room(
    tmp_path: Path, listening: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(tmp_path / "socket")
    journal.dropped = 2
    with (tmp_path / "stderr").open("w") as stream:
        for name, value in environment(tmp_path / "stderr").items():
            monkeypatch.setenv(name, value)
        Logging("info", "auto", stream, journal).set_level("debug")
    dropped, changed = read(listening), read(listening)
    assert (dropped["CODE"], dropped["COUNT"], changed["CODE"]) == ("lines_dropped", "2", "log_level_changed")


def test_text_from_outside_is_one_line_in_the_journal(listening: socket.socket, tmp_path: Path) -> None:
    with (tmp_path / "stderr").open("w") as stream:
        journal = Journal(tmp_path / "socket")
        configure_logging("info", "auto", stream, journal=journal, environment=environment(tmp_path / "stderr"))
        structlog.get_logger().warning("link_lost", reason="\x1b[2J\nfaked: well", names=["\x9b31m"])
    told = read(listening)
    assert told["MESSAGE"] == r'link_lost reason="\\x1b[2J\\nfaked: well" names="[\"\\\\x9b31m\"]"'
    assert told["REASON"] == r"\x1b[2J\nfaked: well"
