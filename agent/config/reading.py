# SPDX-License-Identifier: Apache-2.0
"""From a TOML file to a `Config`: nothing starts half configured.

Promise: a file is either read whole or refused with a `Problem` for everything in it that is wrong, each one
line that names key, value and what is accepted. Unknown keys are refused, with the nearest known one as a
suggestion.
Limits: the value of a key that smells of a secret is never repeated. A file is at most 1 MiB, its lines, keys and
lists are bounded (`LINE_CHARS_MAX`, `KEY_PARTS_MAX`, `SECTIONS_MAX`), and `PROBLEMS_MAX` are told.
Failure: `ConfigError`, one line with the file's name; a syntax error names the line.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

import msgspec

from agent.config import rules
from agent.config.collecting import CollectConfig, TriggerConfig
from agent.config.integrity import IntegrityConfig
from agent.config.section import Section
from agent.config.sections import BusConfig, Config
from agent.config.values import HIDDEN, RefusedError, accepted, bare, convert, shown
from agent.errors import ConfigError
from agent.system.printable import printable

if TYPE_CHECKING:
    from pathlib import Path

LINE_CHARS_MAX = 1 << 18
KEY_PARTS_MAX = 16
SECTIONS_MAX = 10_000
"""Of one kind."""
PROBLEMS_MAX = 100
_FILE_BYTES_MAX = 1 << 20
_PART = r"""(?:[A-Za-z0-9_-]++|"(?:[^"\\\n]|\\.)*+"|'[^'\n]*+')[ \t]*+"""
_DEEP_KEY = re.compile(
    rf"(?:^[ \t]*+\[{{0,2}}+|[{{,])[ \t]*+{_PART}(?:\.[ \t]*+{_PART}){{{KEY_PARTS_MAX}}}", re.MULTILINE
)
_LONG_LINE = re.compile(rf"[^\n]{{{LINE_CHARS_MAX + 1}}}")
_AnySection = TypeVar("_AnySection", bound=Section)
_LISTS: dict[str, type[Section]] = {"collect": CollectConfig, "trigger": TriggerConfig, "integrity": IntegrityConfig}
"""Sections that may be given more than once, or not at all."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: a key such as ``mqtt.keepalive`` and what about it."""

    key: str
    text: str

    def __str__(self) -> str:
        return f"{self.key}: {self.text}" if self.key else self.text


class _TooManyError(Exception):
    """More is wrong than anybody reads."""


@dataclass(slots=True)
class _Reader:
    """Collects problems while sections are read; paths are relative to the file's `folder`.

    That is where the file's path says, not where a link there points: what is read again later (certificates) is then
    found through the link, also after a folder of the version before is gone.
    """

    file: Path
    problems: list[Problem] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        return self.file.absolute().parent

    def refuse(self, key: str, text: str) -> None:
        """Raises TooManyError where there is no end to what is wrong."""
        self.problems.append(Problem(printable(key), text))
        if len(self.problems) >= PROBLEMS_MAX:
            raise _TooManyError


def load_config(path: Path) -> Config:
    """The configuration in a file; raises ConfigError for the first thing that is wrong."""
    config, problems = inspect_config(path)
    if config is None or problems:
        raise ConfigError(f"{path}: {problems[0]}")
    return config


def inspect_config(path: Path) -> tuple[Config | None, list[Problem]]:
    """The configuration in a file, or None, and everything that is wrong with it; raises nothing."""
    try:
        text = _read_text(path)
    except OSError as error:
        return None, [Problem("", f"cannot be read: {error.strerror or error}")]
    except ValueError as error:
        return None, [Problem("", str(error))]
    try:
        _check_bounds(text)
    except ValueError as error:
        return None, [Problem("", str(error))]
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        return None, [Problem("", f"not valid TOML: {error}")]
    except ValueError:  # Python's int() takes no more
        return None, [Problem("", "not valid TOML: a whole number of thousands of digits")]
    reader = _Reader(path)
    try:
        config = _read_document(reader, document)
    except _TooManyError:
        return None, [*reader.problems, Problem("", f"{PROBLEMS_MAX} problems are listed, and there may be more")]
    return (config if not reader.problems else None), reader.problems


def _read_text(path: Path) -> str:
    with path.open("rb") as file:
        content = file.read(_FILE_BYTES_MAX + 1)
    if len(content) > _FILE_BYTES_MAX:
        raise ValueError("larger than 1MiB: not a configuration")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"not valid TOML: not UTF-8 (at line {line})") from error


def _check_bounds(text: str) -> None:
    """Refuse what would take tomllib minutes, or memory by the gigabyte; raises ValueError."""
    for match in _LONG_LINE.finditer(text):
        raise ValueError(f"{_place(text, match)} has more than {LINE_CHARS_MAX:,} characters: not a configuration")
    for match in _DEEP_KEY.finditer(text):
        raise ValueError(f"{_place(text, match)} has a key of more than {KEY_PARTS_MAX} parts: not a configuration")


def _place(text: str, match: re.Match[str]) -> str:
    return f"line {text.count(chr(10), 0, match.end()) + 1}"


def _read_document(reader: _Reader, document: dict[str, Any]) -> Config | None:
    sections = get_type_hints(Config, include_extras=True)
    names = dict(zip(Config.__struct_encode_fields__, Config.__struct_fields__, strict=True))
    del names["file"]
    for key in [key for key in document if key not in names]:
        _refuse_unknown(reader, key, document[key], list(names))
    values: dict[str, Any] = {}
    for key, name in names.items():
        if name == "buses":
            values[name] = _read_buses(reader, document.get(key, []))
        elif key in _LISTS and key in document:
            values[name] = _read_list(reader, key, _LISTS[key], document[key])
        elif key in document:
            values[name] = _read_section(reader, key, bare(sections[name]), document[key])
        elif name in ("vehicle", "mqtt"):
            first = bare(sections[name]).__struct_fields__[0]
            reader.refuse(f"{key}.{first}", f"missing, and required in a section [{key}]")
    if any(value is None for value in values.values()) or reader.problems:
        return None
    config = Config(**values, file=str(reader.file))
    for where, text in rules.violations(config):
        reader.refuse(where, text)
    return rules.completed(config)


def _read_buses(reader: _Reader, tables: object) -> tuple[BusConfig, ...]:
    if tables == []:
        reader.refuse("bus", "missing, and required; accepted: one section [[bus]] for each bus")
        return ()
    return tuple(
        msgspec.structs.replace(bus, channel=str(reader.folder / str(bus.channel)))
        if bus.interface == "replay" and bus.channel != ""
        else bus
        for bus in _read_list(reader, "bus", BusConfig, tables)
    )


def _read_list(reader: _Reader, key: str, kind: type[_AnySection], tables: object) -> tuple[_AnySection, ...]:
    """The sections [[key]], each told by its name, where it has one, or its number."""
    if not isinstance(tables, list):
        plural = {"bus": "buses", "collect": "rules"}.get(key, f"{key}s")
        wrong = f"{shown(key, tables)} is not a list of {plural}"
        reader.refuse(key, f"{wrong}; accepted: one section [[{key}]] for each")
        return ()
    if len(tables) > SECTIONS_MAX:
        reader.refuse(key, f"{len(tables):,} sections [[{key}]]; accepted: up to {SECTIONS_MAX:,}")
        return ()
    read = []
    for number, table in enumerate(tables, 1):
        name = table.get("name") if isinstance(table, dict) else None
        where = f"{key}[{name}]" if isinstance(name, str) and name and name.isprintable() else f"{key}[#{number}]"
        read.append(_read_section(reader, where, kind, table))
    return tuple(section for section in read if section is not None)


def _read_section(reader: _Reader, where: str, kind: type[_AnySection], table: object) -> _AnySection | None:
    if not isinstance(table, dict):
        reader.refuse(where, f"{shown(where, table)} is not a section; accepted: [{where}] and keys below it")
        return None
    before = len(reader.problems)
    hints = _hints(kind)
    for key in [key for key in table if key not in hints]:
        _refuse_unknown(reader, f"{where}.{key}", table[key], list(hints))
    for info in msgspec.structs.fields(kind):
        if info.required and info.name not in table:
            reader.refuse(f"{where}.{info.name}", f"missing, and required; accepted: {accepted(hints[info.name])}")
    values = {}
    for key in [key for key in hints if key in table]:
        try:
            values[key] = convert(hints[key], table[key], reader.folder)
        except RefusedError as error:
            value = shown(key, table[key])
            advice = "; put name and password in username and password_file" if value == HIDDEN else ""
            reader.refuse(f"{where}.{key}", f"{value} is not {error.noun}; accepted: {error.accepted}{advice}")
    return kind(**values) if len(reader.problems) == before else None


@cache
def _hints(kind: type[Section]) -> dict[str, Any]:
    return get_type_hints(kind, include_extras=True)


def _refuse_unknown(reader: _Reader, where: str, value: object, known: list[str]) -> None:
    *_, key = where.split(".")
    nearest = difflib.get_close_matches(key[:64].lower(), known, 1)
    advice = f' (did you mean "{nearest[0]}"?)' if nearest else ""
    reader.refuse(where, f"unknown key, set to {shown(key, value)}{advice}; accepted: {', '.join(known)}")
