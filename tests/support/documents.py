# SPDX-License-Identifier: Apache-2.0
"""The project's documents: which holds what, and what their examples, tables, headings and links say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
BENCH = ROOT / "agent/live/README.md"  # commands, live signals, exports
OPERATION = ROOT / "systemd/OPERATION.md"  # events, findings, promises
REFERENCE = ROOT / "agent/config/REFERENCE.md"  # every key
COLLECT = ROOT / "agent/collect/README.md"  # rules, triggers, integrity
ENDPOINTS = ROOT / "agent/uplink/README.md"  # brokers, modem, data plan
WIRE = ROOT / "agent/batch/README.md"  # a batch's bytes, and a reader of them
DISK = ROOT / "agent/spool/README.md"  # the spool's files
CODE = ROOT / "agent/README.md"  # modules, words, libraries
TESTS = ROOT / "tests/README.md"  # the suites
FIGURES = ROOT / "tests/benchmarks/README.md"  # measured, with commands


def documents() -> list[Path]:
    """All of them, the changelog apart."""
    folders = (path for name in ("agent", "dbc", "systemd", "tests") for path in (ROOT / name).rglob("*.md"))
    return [README, *sorted(folders)]


def example(document: Path, containing: str = "", language: str = "toml") -> str:
    """The first block of this language that contains so much."""
    return next(block for block in examples(document, language) if containing in block)


def examples(document: Path, language: str = "toml") -> list[str]:
    return [part.partition("```")[0] for part in document.read_text().split(f"```{language}\n")[1:]]


def rows(document: Path, title: str) -> dict[str, list[str]]:
    """The table that begins with a line like `title`: its cells by the first one, without backquotes."""
    table = document.read_text().partition(f"\n{title}")[2].partition("|---")[2].partition("\n\n")[0]
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in table.splitlines()[1:]]
    return {first.strip().strip("`"): [cell.strip() for cell in others] for first, *others in cells}


def section(document: Path, title: str) -> str:
    """What stands below a heading, up to the next one that is no deeper."""
    found = re.search(rf"^(#+) {re.escape(title)}\n", document.read_text(), re.MULTILINE)
    assert found is not None, f"{document}: no heading {title!r}"
    return re.split(rf"^#{{1,{len(found[1])}}} ", document.read_text()[found.end() :], flags=re.MULTILINE)[0]


def anchors(document: Path) -> set[str]:
    """Those that GitHub makes of headings."""
    titles = re.findall(r"^#+ (.*)", _without_code(document.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def links(document: Path) -> list[str]:
    return re.findall(r"\]\(([^)\s]+)\)", _without_code(document.read_text()))


def commands(document: Path) -> Iterator[str]:
    """Each line of an indented block that runs canferry or a script of the project, without what is said of it."""
    for line in re.findall(r"^    (?:\$ )?(\S.*)$", _without_code(document.read_text()), re.MULTILINE):
        yield re.split(r"\s{2,}#", line)[0].strip()


def _without_code(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
