# SPDX-License-Identifier: Apache-2.0
"""One value of the file against the annotation of its key: converted, or refused in words.

Promise: what `accepted` says of an annotation is what `convert` takes.
Failure: `RefusedError`, with what the value is not and what would be accepted.
"""

from __future__ import annotations

import json
import os
import types
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec
from msgspec import Meta

from agent.config.priorities import HIGHEST_FIRST, Priority
from agent.config.section import Within
from agent.units import Quantity

_WORDS: dict[Any, tuple[str, str]] = {
    str: ("a text", "a text in quotes"),
    str | int: ("a text or a whole number", "a text in quotes, or a whole number"),
    bool: ("true or false", "true or false"),
    int: ("a whole number", "a whole number"),
    float: ("a number in range", "a number"),
    str | tuple[str, ...]: ("a text or a list of texts", "a text in quotes, or a list of them"),
    Path: ("a path", "a path in quotes"),
    tuple[Path, ...]: ("a list of paths", '[] or a list of paths such as ["one.dbc", "two.dbc"]'),
    dict[str, object]: ("a table", "keys and values, such as { ttyBaudrate = 115200 }"),
}
_BEYOND = {"a text": "of this length", "a whole number": "a whole number in range"}
"""What a value is not that is of the right kind."""

HIDDEN = "(not shown)"
_SECRETS = ("password", "secret", "token", "passphrase")
_CREDENTIALS = "${CREDENTIALS_DIRECTORY}"


class RefusedError(ValueError):
    """A value is not `noun`; `accepted` would be."""

    def __init__(self, noun: str, accepted: str) -> None:
        super().__init__(f"not {noun}")
        self.noun, self.accepted = noun, accepted


def bare(annotation: Any) -> Any:
    """An annotation without ``| None``: TOML knows no null."""
    if get_origin(annotation) in (Union, types.UnionType):
        kinds = [kind for kind in get_args(annotation) if kind is not type(None)]
        return kinds[0] if len(kinds) == 1 else Union[tuple(kinds)]  # noqa: UP007 - made at run time
    return annotation


def accepted(annotation: Any) -> str:
    """What a key of this annotation accepts, for a person."""
    return _words(bare(annotation))[1]


def convert(annotation: Any, value: object, folder: Path) -> Any:
    """The value as its section wants it; relative paths start from ``folder``; raises RefusedError."""
    annotation = bare(annotation)
    kind, within = _kind(annotation)
    if isinstance(kind, type) and issubclass(kind, Quantity):
        converted: Any = _quantity(kind, value)
    elif kind is Priority:
        return _priority(value)
    elif kind is Path or kind == tuple[Path, ...]:
        return _paths(kind, value, folder)
    else:
        try:
            converted = msgspec.convert(value, kind if within else annotation, strict=True)
        except msgspec.ValidationError as error:
            noun, acceptable = _words(annotation)
            raise RefusedError(_BEYOND.get(noun, noun) if type(value) is kind else noun, acceptable) from error
    if within is not None and not _bound(kind, within.low) <= converted <= _bound(kind, within.high):
        raise RefusedError(f"{_words(annotation)[0]} in range", _range(kind, within))
    return converted


def shown(key: str, value: object) -> str:
    """A value as the file writes it, short, and never a secret."""
    if any(word in key.lower() for word in _SECRETS) or (isinstance(value, str) and "@" in value):
        return HIDDEN
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except RecursionError:
        return "(too deep to show)"
    return text if len(text) <= 80 else f"{text[:77]}…"


def _quantity(kind: type[Quantity], value: object) -> Quantity:
    if not isinstance(value, str):
        raise RefusedError(kind.noun, kind.accepted)
    try:
        return kind.parse(value)
    except ValueError as error:
        raise RefusedError(str(error).removeprefix("not "), kind.accepted) from error


def _priority(value: object) -> Priority:
    try:
        return Priority.of(str(value))
    except ValueError:
        raise RefusedError(*_words(Priority)) from None


def _paths(kind: Any, value: object, folder: Path) -> Path | tuple[Path, ...]:
    values = [value] if kind is Path else value
    if not isinstance(values, list) or not all(isinstance(each, str) and each and "\0" not in each for each in values):
        raise RefusedError(*_WORDS[kind])
    paths = tuple(folder / _found_credential(each) for each in values)
    return paths[0] if kind is Path else paths


def _found_credential(path: str) -> str:
    """Where the service manager has put a credential (systemd.exec(5), LoadCredential=)."""
    if not path.startswith(_CREDENTIALS):
        return path
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        raise RefusedError("a path here: CREDENTIALS_DIRECTORY is not set", "as a service, or with it set to a folder")
    return folder + path.removeprefix(_CREDENTIALS)


def _kind(annotation: Any) -> tuple[Any, Within | None]:
    if get_origin(annotation) is not Annotated:
        return annotation, None
    kind, *extras = get_args(annotation)
    return kind, next((extra for extra in extras if isinstance(extra, Within)), None)


def _bound(kind: Any, text: str) -> int:
    return kind.parse(text) if issubclass(kind, Quantity) else int(Decimal(text))


def _range(kind: Any, within: Within) -> str:
    quote = '"' if issubclass(kind, Quantity) else ""
    return f"{quote}{within.low}{quote} to {quote}{within.high}{quote}"


def _words(annotation: Any) -> tuple[str, str]:
    """What a value is said not to be, and what would be accepted."""
    kind, within = _kind(annotation)
    choices = _choices(kind)
    if choices:
        return "one of these", ", ".join(choices)
    for meta in get_args(annotation)[1:] if get_origin(annotation) is Annotated else ():
        if isinstance(meta, Meta) and meta.description:
            return "of this form" if meta.pattern else _WORDS[kind][0], meta.description
    if isinstance(kind, type) and issubclass(kind, Quantity):
        return kind.noun, kind.accepted
    if kind not in _WORDS and get_origin(kind) is tuple:
        each = _words(get_args(kind)[0])[1]
        return "a list of such values", f"a list, each of it {each}"
    noun, accepted = _WORDS[kind]
    return noun, f"{accepted}, {_range(kind, within)}" if within else accepted


def _choices(kind: Any) -> list[str]:
    """Priorities, or the values of a Literal, those of a bool beside it included; none of another kind."""
    if kind is Priority:
        return [f'"{each}"' for each in HIGHEST_FIRST]
    parts = (kind,) if get_origin(kind) is Literal else get_args(kind)
    literals = [f'"{value}"' for part in parts if get_origin(part) is Literal for value in get_args(part)]
    return ["true", "false", *literals] if literals and bool in parts else literals
