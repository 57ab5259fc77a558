# SPDX-License-Identifier: Apache-2.0
"""The manual pages hold every command, option, key, finding and event."""

from __future__ import annotations

import re
import runpy

import msgspec
import pytest

from agent import cli
from tests import reference
from tests.support.documents import OPERATION, ROOT, rows


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    made: dict[str, str] = runpy.run_path(str(ROOT / "systemd/manpages.py"))["pages"]("0.1.0", "2026-01-01")
    return made


def bold(page: str) -> set[str]:
    """What is described: the term of each paragraph, without what follows it in brackets."""
    return {line.partition(" (")[0].replace("\\-", "-") for line in re.findall(r"^\.TP\n\.B (.*)$", page, re.M)}


def test_every_command_and_option_is_described(pages: dict[str, str]) -> None:
    page = pages["canferry.1"].replace("\\-", "-")
    assert re.findall(r"^\.SS canferry (\w+)$", page, re.M) == list(cli.COMMANDS)
    (subparsers,) = (action for action in cli._parser(cli.COMMANDS)._actions if isinstance(action.choices, dict))
    assert isinstance(subparsers.choices, dict)
    for command in subparsers.choices.values():
        for option in command._option_string_actions:
            assert option in page


def test_every_section_and_key_is_described(pages: dict[str, str]) -> None:
    page = pages["canferry.toml.5"]
    for section in reference.sections():
        title = reference.meanings(section)[0].partition("``: ")[0].removeprefix("``")
        part = page.partition(f".SH {title}\n")[2].partition("\n.SH ")[0]
        assert bold(part) == {field.encode_name for field in msgspec.structs.fields(section)}


@pytest.mark.parametrize(("title", "first"), [("FINDINGS", "| finding |"), ("EVENTS", "| event |")])
def test_every_finding_and_event_is_described(pages: dict[str, str], title: str, first: str) -> None:
    part = pages["canferry-events.7"].partition(f".SH {title}\n")[2].partition("\n.SH ")[0]
    assert bold(part) == set(rows(OPERATION, first))


def test_a_table_that_the_documents_do_not_have_makes_no_page() -> None:
    module = runpy.run_path(str(ROOT / "systemd/manpages.py"))
    with pytest.raises(ValueError, match="no table begins with"):
        module["table"]("\n| key |\n|---|\n| a |\n", "| other |")


def test_what_roff_would_take_for_a_request_is_escaped() -> None:
    module = runpy.run_path(str(ROOT / "systemd/manpages.py"))
    assert module["_escaped"](".a-b'\\é") == ".a\\-b\\(aq\\e\\[u00E9]"
