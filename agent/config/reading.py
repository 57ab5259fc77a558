# SPDX-License-Identifier: Apache-2.0
"""From a TOML file to a `Config`: nothing starts half configured.

Promise: a file is either read whole or refused with a `Problem` for everything in it that is wrong, each one
line that names key, value and what is accepted. Unknown keys are refused, with the nearest known one as a
suggestion.
Limits: the value of a key that smells of a secret is never repeated.
Failure: `ConfigError`, one line with the file's name; a syntax error names the line.
"""

from __future__ import annotations

import difflib
import tomllib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

import msgspec

from agent.config import rules
from agent.config.collecting import CollectConfig, TriggerConfig
from agent.config.integrity import IntegrityConfig
from agent.config.section import Section
from agent.config.sections import BusConfig, Config
from agent.config.values import HIDDEN, RefusedError, accepted, bare, convert, shown
from agent.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

_FILE_BYTES_MAX = 1 << 20
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


@dataclass(slots=True)
class _Reader:
    """Collects problems while sections are read; paths are relative to `folder`."""

    folder: Path
    problems: list[Problem] = field(default_factory=list)

    def refuse(self, key: str, text: str) -> None:
        self.problems.append(Problem(key, text))


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
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        return None, [Problem("", f"not valid TOML: {error}")]
    reader = _Reader(path.absolute().parent)
    config = _read_document(reader, document)
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


def _read_document(reader: _Reader, document: dict[str, Any]) -> Config | None:
    sections = get_type_hints(Config, include_extras=True)
    names = dict(zip(Config.__struct_encode_fields__, Config.__struct_fields__, strict=True))
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
    config = Config(**values)
    for where, text in rules.broken(config):
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
    hints = get_type_hints(kind, include_extras=True)
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


def _refuse_unknown(reader: _Reader, where: str, value: object, known: list[str]) -> None:
    *_, key = where.split(".")
    nearest = difflib.get_close_matches(key.lower(), known, 1)
    advice = f' (did you mean "{nearest[0]}"?)' if nearest else ""
    reader.refuse(where, f"unknown key, set to {shown(key, value)}{advice}; accepted: {', '.join(known)}")
