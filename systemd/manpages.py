# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: INP001
"""The manual pages, made from the code and the documents' tables: ``python systemd/manpages.py FOLDER VERSION DATE``.

    canferry.1         each command with its options and examples, as its own ``--help`` has them
    canferry.toml.5    each section and key, as agent/config/REFERENCE.md has them, which is made from the code
    canferry-events.7  each finding and event with its meaning and the next move, as systemd/OPERATION.md has them

Plain roff with the macros of man(7). Imports the agent from the folder above, and nothing that has to be installed
beside it but what `canferry --help` needs.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))

from agent import cli  # noqa: E402

REFERENCE = PROJECT / "agent/config/REFERENCE.md"
OPERATION = PROJECT / "systemd/OPERATION.md"
DOCUMENTS = "/usr/share/doc/canferry"


def pages(version: str, date: str) -> dict[str, str]:
    """Each page's file name and text."""
    return {
        "canferry.1": _page("canferry", 1, version, date, commands()),
        "canferry.toml.5": _page("canferry.toml", 5, version, date, keys()),
        "canferry-events.7": _page("canferry-events", 7, version, date, events()),
    }


def commands() -> list[str]:
    """canferry(1)."""
    os.environ["COLUMNS"] = "76"  # which argparse folds its lines to
    parser = cli._parser(cli.COMMANDS)  # noqa: SLF001
    (subparsers,) = (action for action in parser._actions if isinstance(action.choices, dict))  # noqa: SLF001
    summaries = {action.dest: action.help for action in subparsers._choices_actions}  # type: ignore[attr-defined]  # noqa: SLF001
    lines = [
        *_title("canferry", "ferries a car's CAN signals to the cloud"),
        *(".SH SYNOPSIS", ".B canferry", ".I COMMAND", "[options]", ".SH DESCRIPTION"),
        *_text(parser.description or ""),
        *(".SH COMMANDS",),
    ]
    for name, command in subparsers.choices.items():  # type: ignore[union-attr]
        lines += [f".SS canferry {name}", *_text(f"{_sentence(summaries.get(name) or command.description or '')}.")]
        lines += [".PP", *_verbatim(command.format_usage().removeprefix("usage: "))]
        if command.description:
            lines += [".PP", *_text(command.description)]
        lines += _arguments(command)
        if command.epilog:
            lines += [".PP", *_verbatim(command.epilog)]
    lines += [
        *(".SH EXIT STATUS", ".TP", ".B 0", "success"),
        *(".TP", ".B 1", "failure"),
        *(".TP", ".B 2", "wrong usage, or a configuration that cannot be used"),
        *(".TP", ".B 130", "interrupted"),
        *(".SH FILES", ".TP", ".I /etc/canferry/agent.toml", "the service's configuration"),
        *(".TP", ".I /var/lib/canferry", "the spool"),
        *(".TP", f".I {DOCUMENTS}", "the documents, README.md first"),
        *_see("canferry.toml (5)", "canferry-events (7)", "candump (1)", "journalctl (1)"),
    ]
    return lines


def _arguments(command: argparse.ArgumentParser) -> list[str]:
    """Each argument of a command with its help; one that has none, and is in the usage, is left out."""
    lines = []
    for action in command._actions:  # noqa: SLF001
        if action.help in (None, argparse.SUPPRESS) and not action.option_strings:
            continue
        if action.help == argparse.SUPPRESS:
            continue
        value = "" if action.nargs == 0 else _metavar(action)
        names = ", ".join(action.option_strings) or value
        head = f"{names} {value}" if action.option_strings and value else names
        text = command._get_formatter()._expand_help(action) if action.help else "see above"  # noqa: SLF001
        lines += [".TP", f".B {_escaped(head)}", *_text(text)]
    return lines


def _metavar(action: argparse.Action) -> str:
    if isinstance(action.metavar, str):
        return action.metavar
    if action.choices is not None:
        return "{" + ",".join(map(str, action.choices)) + "}"
    return action.dest.upper()


def keys() -> list[str]:
    """canferry.toml(5)."""
    lines = [
        *_title("canferry.toml", "configuration of canferry"),
        *(".SH DESCRIPTION",),
        *_text(
            "The agent reads one TOML file, /etc/canferry/agent.toml where it runs as a service. Unknown keys are "
            "refused; `canferry check --config FILE` names each problem with file, key and what is accepted."
        ),
        *(".PP", "The smallest file:", ".PP"),
        *_verbatim(_block((PROJECT / "README.md").read_text(), "toml")),
    ]
    for title, what, table in _sections(REFERENCE.read_text()):
        lines += [f".SH {_escaped(title)}", *_text(what)]
        for key, accepted, default, meaning in table:
            lines += [".TP", f".B {_escaped(key)}", *_text(f"{meaning}."), ".br"]
            lines += _text(f"Accepted: {accepted}. Default: {default}.")
    return [*lines, *_see("canferry (1)", "canferry-events (7)")]


def _sections(document: str) -> list[tuple[str, str, list[list[str]]]]:
    """Of each section of the reference its title, what it says of itself, and its rows."""
    found = []
    for head in re.finditer(r"^\*\*`(.+?)`\*\*: (.+)$", document, re.MULTILINE):
        what = re.sub(r" See (\[[^\]]*\]\([^)]*\)(, )?)+\.$", "", head[2])
        found.append((head[1], what, table(document[head.end() :], "| key |")))
    return found


def events() -> list[str]:
    """canferry-events(7)."""
    document = OPERATION.read_text()
    lines = [
        *_title("canferry-events", "what canferry's log and status say, and the next move"),
        *(".SH DESCRIPTION",),
        *_text("Each warning and error in the log has a stable code, and so has each finding of `canferry status`."),
        *(".PP",),
        *_verbatim("journalctl -u canferry CODE=link_lost\njournalctl -u canferry -p warning -o verbose\n"),
    ]
    for title, first in (("FINDINGS", "| finding |"), ("EVENTS", "| event |")):
        lines += [f".SH {title}"]
        for code, level, meaning, move in table(document, first):
            lines += [".TP", f".B {_escaped(code)} ({_escaped(level)})", *_text(f"{_sentence(meaning)}.")]
            lines += [".br", *_text(f"Next: {move}.")]
    return [*lines, *_see("canferry (1)", "canferry.toml (5)", "journalctl (1)")]


def table(document: str, first: str) -> list[list[str]]:
    """The rows of the table whose first line begins so: their cells, the first without backquotes.

    Raises ValueError where there is none: a page without its table must not be shipped.
    """
    rows = document.partition(f"\n{first}")[2].partition("|---")[2].partition("\n\n")[0].splitlines()[1:]
    if not rows:
        raise ValueError(f"no table begins with {first}")
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]
    return [[name.strip("`"), *others] for name, *others in cells]


def _block(document: str, language: str) -> str:
    return document.partition(f"```{language}\n")[2].partition("```")[0]


def _page(name: str, section: int, version: str, date: str, lines: list[str]) -> str:
    head = f'.TH {name.upper()} {section} {date} "canferry {version}" canferry'
    return "\n".join(['.\\" Made by systemd/manpages.py.', head, *lines]) + "\n"


def _title(name: str, what: str) -> list[str]:
    return [".SH NAME", f"{_escaped(name)} \\- {_escaped(what)}"]


def _see(*others: str) -> list[str]:
    return [".SH SEE ALSO", ",\n".join(f".BR {_escaped(page)}" for page in others).replace(",\n", " ,\n")]


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] if text[:2].islower() or text[1:2] == " " else text


def _text(markdown: str) -> list[str]:
    """A paragraph in roff: names in bold, links as their text."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", markdown).replace("\\|", "|")
    parts = re.split(r"`([^`]*)`", " ".join(text.split()))
    made = "".join(f"\\fB{_escaped(part)}\\fR" if index % 2 else _escaped(part) for index, part in enumerate(parts))
    made = re.sub(r"\.\.$", ".", made)
    return [made if made[:1] not in (".", "'") else f"\\&{made}"] if made else []


def _verbatim(text: str) -> list[str]:
    lines = [_escaped(line) for line in text.rstrip().splitlines()]
    return [".nf", *(f"\\&{line}" if line[:1] in (".", "'") else line for line in lines), ".fi"]


_CHARACTERS = {"\\": "\\e", "-": "\\-", "'": "\\(aq", "`": "\\(ga", "^": "\\(ha", "~": "\\(ti", "…": "...", "─": "-"}


def _escaped(text: str) -> str:
    """Characters of roff as themselves; beyond ASCII as it names them."""
    return "".join(
        _CHARACTERS.get(letter, letter if letter.isascii() else f"\\[u{ord(letter):04X}]") for letter in text
    )


def main() -> None:
    """Write the pages into a folder."""
    folder, version, date = sys.argv[1:]
    for name, text in pages(version, date).items():
        (Path(folder) / name).write_text(text)


if __name__ == "__main__":
    main()
