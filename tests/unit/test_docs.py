# SPDX-License-Identifier: Apache-2.0
"""The documents hang together: each is found from the README, each link leads somewhere, each command is one."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

import pytest

from agent import cli
from tests.support import documents
from tests.support.documents import FIGURES, README, ROOT, TESTS, anchors, links, rows, section

if TYPE_CHECKING:
    from pathlib import Path

ALL = documents.documents()
EVERY = [*ALL, ROOT / "CHANGELOG.md"]


def name(document: Path) -> str:
    return str(document.relative_to(ROOT))


def test_readme_is_short_enough_to_be_read() -> None:
    assert len(README.read_text().split()) <= 1500


def test_readme_maps_every_document() -> None:
    mapped = {(ROOT / target).resolve() for target in re.findall(r"\]\((.*?)\)", section(README, "The documents"))}
    assert mapped == {*EVERY, ROOT / "LICENSE"} - {README}


@pytest.mark.parametrize("document", EVERY, ids=name)
def test_every_link_leads_to_a_file_and_a_heading(document: Path) -> None:
    for target in links(document):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        found = (document.parent / path).resolve() if path else document
        assert found.is_relative_to(ROOT), target
        assert found.exists(), target
        assert not anchor or anchor in anchors(found), target


@pytest.mark.parametrize("document", ALL, ids=name)
def test_no_heading_stands_twice_in_a_document(document: Path) -> None:
    titles = re.findall(r"^#+ (.*)", re.sub(r"^```.*?^```$", "", document.read_text(), flags=re.M | re.S), re.M)
    assert len(titles) == len(set(titles))


def test_every_document_that_code_and_units_name_exists() -> None:
    for path in [*(ROOT / "agent").rglob("*.py"), ROOT / "systemd/agent.toml", *(ROOT / "systemd").glob("canferry*")]:
        for named in re.findall(r"(?:[\w-]+/)*[\w-]+\.md\b", path.read_text(encoding="utf-8")):
            inside = named.removeprefix("usr/share/doc/canferry/")
            assert (ROOT / inside).exists(), f"{name(path)}: {named}"


@cache
def options(command: str) -> frozenset[str]:
    parser = cli._parser([command])
    (subparsers,) = (action for action in parser._actions if isinstance(action.choices, dict))
    assert isinstance(subparsers.choices, dict)
    return frozenset(subparsers.choices[command]._option_string_actions)


@pytest.mark.parametrize("document", ALL, ids=name)
def test_every_command_has_the_options_that_are_named(document: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", document.read_text(), flags=re.M | re.S)
    spans = [span.replace("\n", " ") for span in re.findall(r"`([^`]*)`", text)]
    for line in (*spans, *documents.commands(document)):
        for command, rest in re.findall(r"(?:^|[ /])canferry ([a-z]+)\b([^|&]*(?:\\\|[^|&]*)*)", line):
            if command in cli.COMMANDS:
                assert set(re.findall(r"(?<![\w-])--[a-z0-9-]+", rest)) <= options(command), line
            else:
                assert not line.startswith("canferry "), line


@pytest.mark.parametrize("document", ALL, ids=name)
def test_every_script_and_folder_of_tests_that_is_named_exists(document: Path) -> None:
    text = document.read_text()
    named = re.findall(r"python (tests/[\w/]+\.py)", text)
    named += [module.replace(".", "/") + ".py" for module in re.findall(r"-m (tests\.benchmarks\.\w+)", text)]
    named += re.findall(r"pytest (?:-s )?(tests/[\w/]+(?:\.py)?)", text)
    assert all((ROOT / each).exists() for each in named), named


def test_readme_has_the_two_lines_that_are_proven_on_another_debian() -> None:
    assert len(re.findall(r"^    python3 -m venv .*", README.read_text(), re.M)) == 2


def test_every_benchmark_is_named() -> None:
    text = FIGURES.read_text()
    for script in (ROOT / "tests/benchmarks").glob("*.py"):
        assert re.search(rf"\b{script.stem}\b", text), script.name


def test_every_suite_is_named_with_how_to_run_it() -> None:
    suites = {
        path.name for path in (ROOT / "tests").iterdir() if path.is_dir() and not path.name.startswith(("_", "."))
    }
    told = rows(TESTS, "| folder |")
    assert {folder.strip("/") for folder in told} == suites - {"data", "support"}
    assert all(len(cells) == 2 and all(cells) for cells in told.values())


def test_every_environment_variable_of_the_tests_is_named() -> None:
    read = {
        variable
        for path in (ROOT / "tests").rglob("*.py")
        for variable in re.findall(r'environ(?:\.get\(|\[)"(\w+)"', path.read_text())
        if variable.startswith("CANFERRY_")
    }
    assert set(rows(TESTS, "| environment variable |")) == (read | {"CI"}) - {"CANFERRY_INSIDE"}  # of the suite itself
