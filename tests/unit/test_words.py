# SPDX-License-Identifier: Apache-2.0
"""The words of `tests/words.toml` are gone as names from the code, and from the documents' headings, keys and code."""

from __future__ import annotations

import ast
import re
import tomllib
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.documents import documents

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PROJECT = Path(__file__).parents[2]
TABLE: dict[str, Any] = tomllib.loads((PROJECT / "tests/words.toml").read_text())
WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Rule:
    """A row of the table."""

    old: list[str]
    new: str
    rooms: list[str] = field(default_factory=list)
    name: bool = False
    exceptions: dict[str, str] = field(default_factory=dict)

    def broken_by(self, name: str, room: str) -> set[str]:
        """Those of the old words that a name in a room uses."""
        if name in self.exceptions or (self.rooms and room not in self.rooms):
            return set()
        words = [name.strip("_").lower()] if self.name else [word.lower() for word in WORD.findall(name)]
        return set(self.old).intersection(words)


RULES = [Rule(**{"exceptions" if key == "except" else key: row[key] for key in row}) for row in TABLE["word"]]


def names_in(source: str) -> Iterator[str]:
    """What a module defines, and what it calls its arguments, keys and fields."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name
            case ast.arg(arg=name) | ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield name
            case ast.keyword(arg=str(name)):
                yield name


def names_of_document(text: str) -> Iterator[str]:
    """Words of headings, the first cells of tables, and names in backticks."""
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    for line in text.splitlines():
        if line.startswith("#"):
            yield from IDENTIFIER.findall(line)
        elif line.startswith("|"):
            yield from re.findall(r"`([A-Za-z_][A-Za-z0-9_]*)`", line.split("|")[1])
    yield from re.findall(r"`([A-Za-z_][A-Za-z0-9_]*)`", text)


def old_words(names: Iterable[str], room: str, left: Iterable[str]) -> dict[str, set[str]]:
    """The names with an old word that is not one of those that are left, each with its words."""
    used = {name: set().union(*(rule.broken_by(name, room) for rule in RULES)) - set(left) for name in names}
    return {name: words for name, words in used.items() if words}


def code() -> dict[str, set[str]]:
    """By room: all names in its modules."""
    names: dict[str, set[str]] = defaultdict(set)
    for path in sorted((PROJECT / "agent").rglob("*.py")):
        if not path.stem.endswith("_pb2"):
            room = path.relative_to(PROJECT / "agent").parts[0].removesuffix(".py")
            names[room] |= {path.stem, *names_in(path.read_text())}
    return names


def test_no_name_in_the_code_uses_a_word_that_another_has_replaced() -> None:
    used = {room: old_words(names, room, TABLE["left"].get(room, ())) for room, names in code().items()}
    assert {room: names for room, names in used.items() if names} == {}, "see tests/words.toml"


@pytest.mark.parametrize("document", documents(), ids=lambda path: str(path.relative_to(PROJECT)))
def test_no_document_uses_a_word_that_another_has_replaced(document: Path) -> None:
    names = names_of_document(document.read_text())
    assert old_words(names, document.parent.name, TABLE["left"].get("documents", ())) == {}, "see tests/words.toml"


def test_a_word_is_found_as_a_part_of_a_name_or_as_the_whole() -> None:
    part, whole = Rule(["vault"], "store"), Rule(["take"], "process", name=True)
    assert all(part.broken_by(name, "spool") for name in ("vault", "_VAULT_MAX", "OpenVault", "vault_of"))
    assert not part.broken_by("vaulted", "spool")
    assert whole.broken_by("_take", "spool")
    assert not whole.broken_by("take_over", "spool")
    assert not Rule(["vault"], "store", rooms=["uplink"]).broken_by("vault", "spool")


def test_every_name_of_a_module_is_looked_at() -> None:
    source = "class A:\n    b: int\ndef c(d, *, e=1):\n    f.g = h = log(i=d)\nasync def j(): ...\n"
    assert set(names_in(source)) == set("Abcdeghij")
    assert set(names_of_document("# A b\n| `c` | `d` |\nSay `e`, not `f g`.\n```\n`h`\n```\n")) == set("Abcde")
