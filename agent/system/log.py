# SPDX-License-Identifier: Apache-2.0
"""What the agent says: structlog events, for people on a terminal, as fields in the system's journal (`journald`) where
a service manager has connected stderr with that, and as JSON lines elsewhere.

Promise: one line an event, with time (UTC, ISO 8601), level, event and fields; lines of the libraries (paho,
python-can, asyncio, Python's own warnings) come the same way, as event ``library_logged``. The same event
about the same thing is said at most `BURST` times in `PERIOD_S`; what was left out is counted, and told by
the next of its kind as ``repeats_left_out``, or by an event of that name when the period is over.
Limits: at most `KEYS_MAX` things are remembered; the oldest is told and forgotten beyond that. What is left
out in the last period of a process stays untold. Failure: a stream that cannot be written to is given up
silently; the agent goes on. A journal that is not there gives way to JSON lines on stderr.

Text from outside is fit for a line (`text`): what a field says, and a traceback, moves no cursor, breaks no line, and
ends after `FIELD_LENGTH_MAX` characters, a sentence or a path (`SENTENCES`) after `SENTENCE_LENGTH_MAX`.

The event is the line's stable code: systemd/OPERATION.md has a row for each warning and error. A code that was renamed
stands in ``was`` for one release, in the journal and in JSON lines.

Every line calls the same by the same name: what it is about by the words of `ABOUT`, why by ``reason``, and what
somebody should do by ``hint``. "The same thing" is event, level and those of `KEY_FIELDS` that it has.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, TextIO

import structlog

from agent.system import journald
from agent.system.former_codes import EVENTS
from agent.system.printable import ELLIPSIS, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from structlog.typing import EventDict, Processor, WrappedLogger

BURST = 10
PERIOD_S = 10.0
KEYS_MAX = 256
ABOUT = ("bus", "port", "vehicle", "stream", "topic", "catalog", "path", "stage", "library")
KEY_FIELDS = (*ABOUT, "reason", "message")
RECENT_MAX = 16
FIELD_LENGTH_MAX, SENTENCE_LENGTH_MAX = 200, 1000
ITEMS_MAX = 100
"""Of a field that is a list or a table."""
SENTENCES = ("reason", "message", "hint", "path")

_log = structlog.get_logger()

Format = Literal["auto", "console", "json"]


class Logging:
    """How the process logs; its level may be changed while it runs.

    level    the least that is said now
    recent   the warnings and errors that were said of late
    """

    def __init__(
        self,
        level: str = "info",
        format: Format = "auto",  # noqa: A002 - the name of the setting
        stream: TextIO | None = None,
        journal: journald.Journal | None = None,
    ) -> None:
        self.recent = Recent()
        self._limiter = RepeatLimiter(_tell_repeats)
        self._stream, self._journal = stream, journal or journald.Journal()
        self.configure(level, format)

    def configure(self, level: str, format: Format) -> None:  # noqa: A002 - the name of the setting
        """As a configuration says."""
        self.level = self._configured = level
        self._format: Format = format
        self._apply()

    def set_level(self, level: str) -> None:
        """From now on, until it is configured anew; "debug", "info", "warning" or "error"."""
        before, self.level = self.level, level
        self._apply()
        _log.info("log_level_changed", now=level, before=before)

    def toggle_debug(self) -> None:
        """All there is to say, and at the next call what was configured again."""
        self.set_level("debug" if self.level != "debug" else self._configured)

    def _apply(self) -> None:
        configure_logging(
            self.level, self._format, self._stream, self.recent, limiter=self._limiter, journal=self._journal
        )


def configure_logging(
    level: str = "info",
    format: Format = "auto",  # noqa: A002 - the name of the setting
    stream: TextIO | None = None,
    recent: Recent | None = None,
    *,
    limiter: RepeatLimiter | None = None,
    journal: journald.Journal | None = None,
    environment: Mapping[str, str] = os.environ,
) -> None:
    """Say everything from ``level`` up on ``stream`` (stderr unless given); may be called again.

    Where that is a stream into the system's journal, as the environment says, and the format is "auto", `journal` gets
    the lines with their fields.

    Libraries are heard from warning up, or from ``level`` where that is higher; at "debug" from info up. `recent`
    remembers the latest warnings and errors among what is said. A `limiter` and a `journal` that were there before go
    on with what they have counted.
    """
    stream = stream or sys.stderr
    terminal = stream.isatty()
    console = format == "console" or (format == "auto" and terminal)
    native = format == "auto" and not console and _is_journal(stream, environment)
    processors: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        _printable,
        limiter or RepeatLimiter(_tell_repeats),
        *([] if recent is None else [recent]),
        structlog.processors.TimeStamper(fmt="%H:%M:%S.%f" if console else "iso", utc=not console),
        structlog.processors.StackInfoRenderer(),
        *_rendering(console=console, colors=terminal, native=native),
    ]
    number = getattr(logging, level.upper())
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=_LoggerFactory(
            _JournalLogger(stream, journal or journald.Journal()) if native else _LineLogger(stream)
        ),
        cache_logger_on_first_use=False,  # a later call must reach the loggers made before it
    )
    root = logging.getLogger()
    root.handlers = [handler for handler in root.handlers if not isinstance(handler, _LibraryHandler)]
    root.addHandler(_LibraryHandler())
    root.setLevel(logging.INFO if level == "debug" else max(number, logging.WARNING))
    logging.captureWarnings(capture=True)


def _is_journal(stream: TextIO, environment: Mapping[str, str]) -> bool:
    with contextlib.suppress(OSError, ValueError):  # no file behind it, or a closed one
        return journald.is_connected(stream.fileno(), environment)
    return False


def _rendering(*, console: bool, colors: bool, native: bool) -> list[Processor]:
    if native:
        return [_format_exc_info, _head_first, _as_it_is]
    if not console:
        return [_format_exc_info, _head_first, _as_json]
    plain = structlog.dev.plain_traceback
    return [_format_exc_info, structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=plain)]


def _printable(_logger: WrappedLogger, _name: str, event_dict: EventDict) -> EventDict:
    """First of all, so that what is remembered and counted of a line is fit for one, too."""
    return {
        name: value
        if name in ("exc_info", "stack_info")
        else _shown(value, SENTENCE_LENGTH_MAX if name in SENTENCES else FIELD_LENGTH_MAX)
        for name, value in event_dict.items()
    }


def _shown(value: object, limit: int) -> object:
    if value is None or isinstance(value, int | float):
        return value
    if isinstance(value, dict):
        shown = {printable(str(key)): _shown(each, limit) for key, each in islice(value.items(), ITEMS_MAX)}
        return shown if len(value) <= ITEMS_MAX else {**shown, ELLIPSIS: len(value) - ITEMS_MAX}
    if isinstance(value, list | tuple):
        items = [_shown(each, limit) for each in value[:ITEMS_MAX]]
        return items if len(value) <= ITEMS_MAX else [*items, ELLIPSIS]
    return printable(str(value), limit)


def _format_exc_info(logger: WrappedLogger, name: str, event_dict: EventDict) -> EventDict:
    event_dict = structlog.processors.format_exc_info(logger, name, event_dict)
    for key in ("exception", "stack"):
        if key in event_dict:
            lines = str(event_dict[key]).split("\n")
            event_dict[key] = "\n".join(printable(line, SENTENCE_LENGTH_MAX) for line in lines)
    return event_dict


def _head_first(_logger: WrappedLogger, _name: str, event_dict: EventDict) -> EventDict:
    head = {name: event_dict.pop(name) for name in ("timestamp", "level", "event")}
    was = EVENTS.get(str(head["event"]))
    return {**head, **event_dict, **({"was": was} if was else {})}


def _as_it_is(_logger: WrappedLogger, _name: str, event_dict: EventDict) -> tuple[tuple[EventDict], dict[str, Any]]:
    return (event_dict,), {}


_as_json = structlog.processors.JSONRenderer(ensure_ascii=False, default=str)


class _LineLogger:
    """Writes whole lines; threads may share it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._lock = stream, threading.Lock()

    def msg(self, line: str) -> None:
        # A closed or full stderr must not end the agent: ferrying comes before talking.
        with self._lock, contextlib.suppress(OSError, ValueError):
            self._stream.write(line + "\n")
            self._stream.flush()

    debug = info = warning = error = critical = msg


class _JournalLogger:
    """Sends events to the journal, and writes what that does not take; threads may share it."""

    def __init__(self, stream: TextIO, journal: journald.Journal) -> None:
        self._journal, self._lines = journal, _LineLogger(stream)

    def msg(self, event_dict: EventDict) -> None:
        if not self._journal.send(event_dict):
            self._lines.msg(str(_as_json(None, "", event_dict)))

    debug = info = warning = error = critical = msg


class _LoggerFactory:
    """There is one logger."""

    def __init__(self, logger: _LineLogger | _JournalLogger) -> None:
        self._logger = logger

    def __call__(self, *_: object) -> _LineLogger | _JournalLogger:
        return self._logger


class _LibraryHandler(logging.Handler):
    """Hands lines of the standard library's logging on as events."""

    def emit(self, record: logging.LogRecord) -> None:
        exc_info = record.exc_info if record.exc_info and record.exc_info[0] else None
        fields: dict[str, Any] = {"library": record.name, "message": _message_of(record)}
        if exc_info:
            fields["exc_info"] = exc_info
        _log.log(record.levelno if record.levelno in _LEVELS else logging.WARNING, "library_logged", **fields)


def _message_of(record: logging.LogRecord) -> str:
    """What a library says; unfilled where it does not fit its arguments: logging raises nothing into who logs."""
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001 - whatever formatting the arguments raises
        return record.msg if isinstance(record.msg, str) else type(record.msg).__name__


_LEVELS = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL)

Key = tuple[object, ...]


@dataclass(slots=True)
class _Window:
    """What was said about one thing since ``begin_s``."""

    begin_s: float
    said: int = 0
    left_out: int = 0


class RepeatLimiter:
    """A structlog processor that drops the same event about the same thing after `BURST` times in
    `PERIOD_S`."""

    def __init__(self, tell: Callable[[Key, int], None], monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._tell, self._monotonic_s = tell, monotonic_s
        self._windows: OrderedDict[Key, _Window] = OrderedDict()  # in the order of their begins
        self._lock = threading.Lock()

    def __call__(self, _logger: WrappedLogger, _name: str, event_dict: EventDict) -> EventDict:
        """Pass the event on, with what was left out before it; raises structlog.DropEvent for one too
        many."""
        key = (event_dict.get("level"), event_dict["event"], *_things(event_dict))
        if event_dict["event"] == "repeats_left_out":
            return event_dict
        with self._lock:
            now_s = self._monotonic_s()
            window = self._windows.get(key)
            left_out = 0
            if window is None or now_s - window.begin_s >= PERIOD_S:
                left_out = window.left_out if window else 0
                window = self._windows[key] = _Window(now_s)
                self._windows.move_to_end(key)
            window.said += 1
            dropped = window.said > BURST
            window.left_out += dropped
            ended = self._end_windows(now_s)
        for ended_key, count in ended:
            self._tell(ended_key, count)
        if dropped:
            raise structlog.DropEvent
        if left_out:
            event_dict["repeats_left_out"] = left_out
        return event_dict

    def _end_windows(self, now_s: float) -> list[tuple[Key, int]]:
        """Forget windows that are over, or too many; those with something left out are returned."""
        ended = []
        while self._windows:
            key, window = next(iter(self._windows.items()))
            if now_s - window.begin_s < PERIOD_S and len(self._windows) <= KEYS_MAX:
                break
            del self._windows[key]
            if window.left_out:
                ended.append((key, window.left_out))
        return ended


class Recent:
    """A structlog processor that remembers the latest warning or error of each kind, about each thing.

    Limits: `RECENT_MAX` of them; the one that was said longest ago is forgotten beyond that.
    """

    def __init__(self, wall_ns: Callable[[], int] = time.time_ns) -> None:
        self._wall_ns = wall_ns
        self._said: OrderedDict[Key, dict[str, Any]] = OrderedDict()
        self._lock = threading.Lock()

    def __call__(self, _logger: WrappedLogger, _name: str, event_dict: EventDict) -> EventDict:
        """Pass the event on."""
        if event_dict.get("level") in ("warning", "error", "critical"):
            about = [(name, event_dict[name]) for name in ABOUT if name in event_dict]
            key = (event_dict["event"], *about)
            said = {
                "time_ns": self._wall_ns(),
                "level": event_dict["level"],
                "event": str(event_dict["event"]),
                "about": " ".join(f"{name}={value}" for name, value in about),
                "reason": str(event_dict.get("reason") or event_dict.get("message") or ""),
                "hint": str(event_dict.get("hint", "")),
            }
            with self._lock:
                self._said.pop(key, None)
                self._said[key] = said
                while len(self._said) > RECENT_MAX:
                    self._said.popitem(last=False)
        return event_dict

    def lines(self) -> list[dict[str, Any]]:
        """What is remembered, the latest last: time_ns, level, event, about, reason, hint."""
        with self._lock:
            return list(self._said.values())


def _things(event_dict: EventDict) -> tuple[object, ...]:
    return tuple((name, str(event_dict[name])) for name in KEY_FIELDS if name in event_dict)


def _tell_repeats(key: Key, count: int) -> None:
    level, event, *things = key
    number = getattr(logging, str(level).upper(), logging.WARNING)
    fields = {str(thing[0]): thing[1] for thing in things if isinstance(thing, tuple)}
    _log.log(number, "repeats_left_out", of=event, count=count, **fields)
