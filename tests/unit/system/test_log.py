# SPDX-License-Identifier: Apache-2.0
"""What the agent says, and how often."""

from __future__ import annotations

import io
import json
import logging
import warnings
from pathlib import Path
from typing import Any

import pytest
import structlog

from agent.system.log import (
    BURST,
    KEYS_MAX,
    PERIOD_S,
    RECENT_MAX,
    Key,
    Logging,
    Recent,
    RepeatLimiter,
    configure_logging,
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def lines_of(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_where_nobody_watches_each_event_is_a_line_of_json() -> None:
    stream = io.StringIO()
    configure_logging("info", "auto", stream)
    structlog.get_logger().info("batch_sealed", sequence=7, path="/ä")
    (line,) = lines_of(stream)
    assert list(line) == ["timestamp", "level", "event", "sequence", "path"]
    assert line["timestamp"].endswith("Z")
    assert (line["level"], line["event"], line["sequence"], line["path"]) == ("info", "batch_sealed", 7, "/ä")


def test_on_a_terminal_lines_are_for_people() -> None:
    stream = Terminal()
    configure_logging("info", "auto", stream)
    structlog.get_logger().info("batch_sealed", sequence=7)
    assert "batch_sealed" in stream.getvalue()
    assert "\x1b[" in stream.getvalue()
    assert not stream.getvalue().startswith("{")


def test_the_console_format_is_not_coloured_in_a_file() -> None:
    stream = io.StringIO()
    configure_logging("info", "console", stream)
    structlog.get_logger().info("batch_sealed", sequence=7)
    assert "\x1b[" not in stream.getvalue()
    assert "sequence=7" in stream.getvalue()


def test_events_below_the_level_are_not_said() -> None:
    stream = io.StringIO()
    configure_logging("warning", "json", stream)
    structlog.get_logger().info("batch_sealed")
    structlog.get_logger().warning("link_lost")
    assert [line["event"] for line in lines_of(stream)] == ["link_lost"]


def test_loggers_made_earlier_follow_a_later_configuration() -> None:
    log = structlog.get_logger()
    first, second = io.StringIO(), io.StringIO()
    configure_logging("info", "json", first)
    log.info("batch_opened")
    configure_logging("info", "json", second)
    log.info("batch_sealed")
    assert [line["event"] for line in lines_of(first)] == ["batch_opened"]
    assert [line["event"] for line in lines_of(second)] == ["batch_sealed"]


def test_a_renamed_event_bears_its_former_code() -> None:
    stream = io.StringIO()
    configure_logging("info", "json", stream)
    structlog.get_logger().warning("bus_down", bus="can0")
    structlog.get_logger().warning("link_lost")
    assert [(line["event"], line.get("was")) for line in lines_of(stream)] == [
        ("bus_down", "interface_down"),
        ("link_lost", None),
    ]


def test_warnings_of_libraries_come_the_same_way_once() -> None:
    stream = io.StringIO()
    configure_logging("info", "json", stream)
    configure_logging("info", "json", stream)
    logging.getLogger("paho").warning("odd %s", "packet")
    logging.getLogger("can").info("chatter")
    (line,) = lines_of(stream)
    assert (line["event"], line["library"], line["message"]) == ("library_logged", "paho", "odd packet")


class Unwritable:
    def __str__(self) -> str:
        raise ValueError("no words")


@pytest.mark.parametrize(
    ("said", "arguments", "message"),
    [("%d items", ("x",), "%d items"), ("no %s", (Unwritable(),), "no %s"), (Unwritable(), (), "Unwritable")],
)
def test_a_librarys_line_that_cannot_be_put_together_raises_nothing_into_it(
    said: object, arguments: tuple[object, ...], message: str
) -> None:
    stream = io.StringIO()
    configure_logging("info", "json", stream)
    record = logging.LogRecord("paho", logging.WARNING, "client.py", 1, said, arguments, None)
    (handler,) = (each for each in logging.getLogger().handlers if type(each).__module__ == "agent.system.log")
    handler.handle(record)
    assert [line["message"] for line in lines_of(stream)] == [message]


def test_pythons_warnings_come_the_same_way() -> None:
    stream = io.StringIO()
    configure_logging("info", "json", stream)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        logging.captureWarnings(capture=False)
        logging.captureWarnings(capture=True)
        warnings.warn("old ways", DeprecationWarning, stacklevel=1)
        logging.captureWarnings(capture=False)
    assert [line["library"] for line in lines_of(stream)] == ["py.warnings"]


@pytest.mark.parametrize("format_", ["json", "console"])
def test_an_exception_keeps_its_traceback(format_: Any) -> None:
    stream = io.StringIO()
    configure_logging("info", format_, stream)
    try:
        raise KeyError("lost")
    except KeyError:
        structlog.get_logger().exception("stage_failed")
        logging.getLogger("asyncio").exception("stage failed")
    assert stream.getvalue().count("KeyError: 'lost'") == 2


def test_a_stream_that_fails_does_not_stop_the_speaker() -> None:
    stream = io.StringIO()
    configure_logging("info", "json", stream)
    stream.close()
    structlog.get_logger().info("batch_sealed")


class Limited:
    """A limiter with a clock of its own; what it passes on and what it tells."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.told: list[tuple[Key, int]] = []
        self.limiter = RepeatLimiter(lambda key, count: self.told.append((key, count)), lambda: self.now_s)

    def say(self, event: str, **fields: object) -> dict[str, Any] | None:
        try:
            return dict(self.limiter(None, "", {"event": event, "level": "warning", **fields}))
        except structlog.DropEvent:
            return None


def test_the_same_event_is_said_a_few_times_and_the_rest_counted() -> None:
    limited = Limited()
    said = [limited.say("frames_dropped", bus="can0", count=n) for n in range(BURST + 5)]
    assert [line is not None for line in said] == [True] * BURST + [False] * 5
    limited.now_s = PERIOD_S
    line = limited.say("frames_dropped", bus="can0", count=99)
    assert line is not None
    assert line["repeats_left_out"] == 5
    line = limited.say("frames_dropped", bus="can0", count=100)
    assert line is not None
    assert "repeats_left_out" not in line


def test_the_same_event_about_another_thing_is_another_event() -> None:
    limited = Limited()
    for _ in range(BURST + 1):
        limited.say("frames_dropped", bus="can0")
    assert limited.say("frames_dropped", bus="can1") is not None
    assert limited.say("interface_lost", bus="can0") is not None
    assert limited.say("frames_dropped", bus="can0") is None


def test_what_was_left_out_is_told_when_its_period_is_over() -> None:
    limited = Limited()
    for _ in range(BURST + 3):
        limited.say("frames_dropped", bus="can0")
    limited.now_s = PERIOD_S + 1
    limited.say("batch_sealed")
    assert limited.told == [(("warning", "frames_dropped", ("bus", "can0")), 3)]
    limited.say("batch_sealed")
    assert len(limited.told) == 1


def test_memory_is_bounded_and_the_oldest_is_told_before_it_is_forgotten() -> None:
    limited = Limited()
    for _ in range(BURST + 2):
        limited.say("frames_dropped", bus="first")
    for number in range(KEYS_MAX):
        assert limited.say("frames_dropped", bus=str(number)) is not None
    assert limited.told == [(("warning", "frames_dropped", ("bus", "first")), 2)]
    assert len(limited.limiter._windows) == KEYS_MAX


def test_a_flood_through_the_real_logger_is_cut_and_told(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    configure_logging("info", "json", stream)
    for _ in range(1000):
        structlog.get_logger().warning("frames_dropped", bus="can0")
    monkeypatch.setattr("agent.system.log.PERIOD_S", 0.0)  # it is over
    structlog.get_logger().info("batch_sealed")
    lines = lines_of(stream)
    assert [line["event"] for line in lines] == [*["frames_dropped"] * BURST, "repeats_left_out", "batch_sealed"]
    told = lines[BURST]
    assert (told["of"], told["bus"], told["count"]) == ("frames_dropped", "can0", 1000 - BURST)
    assert told["level"] == "warning"


def test_the_latest_warning_of_each_kind_is_remembered_with_its_hint() -> None:
    recent, now_ns = Recent(lambda: now_ns), 5
    configure_logging("info", "json", io.StringIO(), recent)
    logger = structlog.get_logger()
    logger.warning("bus_down", bus="can0", reason="gone", hint="look at it")
    logger.warning("bus_down", bus="can1")
    logger.info("link_up")
    now_ns = 7
    logger.error("bus_down", bus="can0", reason="gone for good")
    assert [(line["about"], line["level"], line["reason"]) for line in recent.lines()] == [
        ("bus=can1", "warning", ""),
        ("bus=can0", "error", "gone for good"),
    ]
    assert recent.lines()[-1] == {
        "time_ns": 7,
        "level": "error",
        "event": "bus_down",
        "about": "bus=can0",
        "reason": "gone for good",
        "hint": "",
    }


def test_what_was_said_longest_ago_is_forgotten() -> None:
    recent = Recent()
    configure_logging("info", "json", io.StringIO(), recent)
    for number in range(RECENT_MAX + 3):
        structlog.get_logger().warning("frames_dropped", bus=f"can{number}")
    assert [line["about"] for line in recent.lines()] == [f"bus=can{n}" for n in range(3, RECENT_MAX + 3)]


def test_the_level_changes_while_it_runs_and_a_configuration_sets_it_anew() -> None:
    stream = io.StringIO()
    logging, log = Logging("warning", "json", stream), structlog.get_logger()

    def said() -> list[str]:
        log.debug("block_packed")
        log.info("batch_sealed")
        log.warning("link_lost")
        told = [line["event"] for line in lines_of(stream)]
        stream.seek(0)
        stream.truncate()
        return told

    assert said() == ["link_lost"]
    logging.toggle_debug()
    assert said() == ["log_level_changed", "block_packed", "batch_sealed", "link_lost"]
    logging.toggle_debug()
    assert said() == ["link_lost"]
    logging.set_level("info")
    assert said() == ["log_level_changed", "batch_sealed", "link_lost"]
    logging.configure("error", "json")
    assert (said(), logging.level) == ([], "error")
    assert [line["event"] for line in logging.recent.lines()] == ["link_lost"]


def test_a_change_of_the_level_forgets_nothing_that_is_still_to_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    logging, log = Logging("info", "json", stream), structlog.get_logger()
    for _ in range(BURST + 3):
        log.warning("frames_dropped", bus="can0")
    logging.toggle_debug()
    log.warning("frames_dropped", bus="can0")  # its period goes on
    assert [line["event"] for line in lines_of(stream)] == [*["frames_dropped"] * BURST, "log_level_changed"]
    monkeypatch.setattr("agent.system.log.PERIOD_S", 0.0)  # it is over
    log.warning("frames_dropped", bus="can0")
    assert lines_of(stream)[-1]["repeats_left_out"] == 4


def test_two_ports_that_fail_for_the_same_reason_are_two_things() -> None:
    limited = Limited()
    for _ in range(BURST + 1):
        limited.say("port_down", port="/dev/ttyUSB1", reason="no such device")
    assert limited.say("port_down", port="/dev/ttyUSB2", reason="no such device") is not None


HOSTILE = "\x1b[2Jcar\n\r\x9b31m\u202eqx\u2028\ud800"
ESCAPED = r"\x1b[2Jcar\n\r\x9b31m\u202eqx\u2028\ud800"


@pytest.mark.parametrize("format_", ["json", "console"])
def test_text_from_outside_breaks_no_line_and_moves_no_cursor(format_: Any) -> None:
    stream, recent = io.StringIO(), Recent()
    configure_logging("info", format_, stream, recent)
    structlog.get_logger().warning(
        "batch_refused", topic=HOSTILE, reason=HOSTILE, names=[HOSTILE], by={HOSTILE: HOSTILE}, path=Path("/\x1b")
    )
    said = HOSTILE.rstrip("\ud800")  # which pytest's own handler could not hand on
    logging.getLogger("paho").warning("refused %s", said)
    try:
        raise KeyError(HOSTILE) from ValueError("\x9b2J\x1b")
    except KeyError:
        structlog.get_logger().exception("stage_failed")
    text = stream.getvalue()
    assert [character for character in text if character < " " and character != "\n"] == []
    assert {"\x9b", "\u202e", "\u2028", "\ud800"} & set(text) == set()
    if format_ == "json":
        refused, library, failed = map(json.loads, text.splitlines())
        assert (refused["topic"], refused["names"], refused["by"]) == (ESCAPED, [ESCAPED], {ESCAPED: ESCAPED})
        assert library["message"] == "refused " + ESCAPED.removesuffix(r"\ud800")
        assert "ValueError: \\x9b2J\\x1b" in failed["exception"]
    assert recent.lines()[0]["reason"] == ESCAPED


def test_a_megabyte_in_a_field_is_a_short_line() -> None:
    stream = io.StringIO()
    configure_logging("info", "json", stream)
    megabyte = "x" * (1 << 20)
    structlog.get_logger().warning("batch_refused", topic=megabyte, reason=megabyte, names=[megabyte] * 100_000)
    (line,) = lines_of(stream)
    assert (len(line["topic"]), len(line["reason"])) == (200, 1000)
    assert len(stream.getvalue()) < 25_000
