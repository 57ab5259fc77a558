#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The package's copyright file: `debian/copyright`, and a paragraph for each library that is bundled.

    systemd/copyright.py ROOT SITE    ROOT: what becomes the package; SITE: the folder of libraries in it

The form is https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/; licences go by their SPDX names. What a
library's licence is, its installed metadata says (License-Expression), else what its sources say with one voice
(SPDX-License-Identifier), else the text that it ships. What a library bundles in turn is named where its licence text
lists it (Name, Files, License), as numpy's does.

Promise: each library is named with its version, its files, who holds the copyright, its licence and where the text of
that lies.
Failure: a library whose licence, or its text, cannot be told is one line on stderr, exit status 1: nothing is bundled
unnamed.
"""

from __future__ import annotations

import re
import sys
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

HERE = Path(__file__).resolve().parent
OWN = "canferry"
LICENCE_FILE = re.compile(r"(licen[cs]e|copying|notice|edl|epl)[^/]*$|/licenses/", re.IGNORECASE)
BY_TEXT = (
    ("BSD-3-Clause", "neither the name"),
    ("BSD-2-Clause", "redistributions in binary form"),
    ("MIT", "permission is hereby granted, free of charge"),
)
"""What only that licence says; the first that fits."""
_HOLDER = re.compile(r"^\W*(?:copyright\b|\(c\)).*\d{4}.*", re.IGNORECASE)
_NO_HOLDER = ("[", "Free Software Foundation")
"""A form to be filled in, and who holds the copyright of a licence's text."""
_SPDX = re.compile(r"SPDX-License-Identifier:\s*([\w.+-]+(?: (?:AND|OR|WITH) [\w.+-]+)*)")
_ELSEWHERE = {"BSD-3-Clause": ["not shipped with it; on Debian systems it is in /usr/share/common-licenses/BSD"]}
"""Where the text is of a licence that a library names and does not ship."""
_BUNDLED = re.compile(r"^Name: (.+)\nFiles: (.+)\n(?:.+\n)*?License: (.+)$", re.MULTILINE)


class UnnamedError(Exception):
    """A library's licence cannot be told."""


def main(root: Path, site: Path) -> int:
    """Write the file to stdout; the result is the exit status."""
    found = sorted(distributions(path=[str(site)]), key=lambda each: each.metadata["Name"].lower())
    place = site.relative_to(root).as_posix()
    try:
        paragraphs = [text for each in found if each.metadata["Name"] != OWN for text in _paragraphs(each, place)]
    except UnnamedError as error:
        print(f"copyright: {error}", file=sys.stderr)
        return 1
    print((HERE / "debian/copyright").read_text(), *paragraphs, sep="\n", end="")
    return 0


def _paragraphs(library: Distribution, place: str) -> Iterator[str]:
    """Of the library itself, and of what it bundles."""
    name = f"{library.metadata['Name']} {library.version}"
    texts = _texts(library)
    licence, holders = _licence(library, texts), _holders(library, texts)
    lies = [f"/{place}/{file}" for file in texts] or _ELSEWHERE.get(licence, [])
    if not lies:
        raise UnnamedError(f"{name}: it ships no text of its licence, {licence}")
    yield _paragraph([f"{place}/{top}" for top in _tops(library)], holders, licence, [f"{name}; its text:", *lies])
    for file, text in texts.items():
        bundled: dict[str, list[tuple[str, str]]] = {}
        for what, pattern, its_licence in _BUNDLED.findall(text):
            bundled.setdefault(pattern, []).append((what, its_licence))
        for pattern, parts in bundled.items():
            what, its_licence = (" and ".join(dict.fromkeys(each)) for each in zip(*parts, strict=True))
            told = [f"{what}, bundled with {name}; its text:", f"/{place}/{file}"]
            yield _paragraph([f"{place}/{pattern}*"], [f"the authors of {what}"], its_licence, told)


def _paragraph(files: list[str], holders: list[str], licence: str, told: list[str]) -> str:
    licence = re.sub(r" WITH (\S+)", r" with \1 exception", licence).replace(" OR ", " or ").replace(" AND ", " and ")
    fields = (("Files", files), ("Copyright", holders), ("License", [licence, *told]))
    return "".join(f"{name}: " + "\n ".join(lines) + "\n" for name, lines in fields)


def _tops(library: Distribution) -> list[str]:
    """Its files and folders in the folder of libraries; of a folder that it shares, a namespace, its own in there."""
    parts = [file.parts for file in library.files or () if ".." not in file.parts]
    shared = {each[0] for each in parts} - {each[0] for each in parts if len(each) <= 2}
    tops = {"/".join(each[: 2 if each[0] in shared else 1]) for each in parts}
    folders = {"/".join(each[:n]) for each in parts for n in range(1, len(each))}
    return sorted(f"{top}/*" if top in folders else top for top in tops)


def _texts(library: Distribution) -> dict[str, str]:
    """The licence texts that it ships, by their place."""
    own = [file for file in library.files or () if file.parts[0].endswith(".dist-info")]
    found = [file for file in own if LICENCE_FILE.search(str(file).partition("/")[2])]
    return {str(file): Path(str(file.locate())).read_text(errors="replace") for file in sorted(found)}


def _licence(library: Distribution, texts: dict[str, str]) -> str:
    expression: str | None = library.metadata.get("License-Expression")
    if expression:
        return expression
    said = {licence for text in _sources(library) for licence in _SPDX.findall(text)}
    if len(said) == 1:
        return said.pop()
    for licence, words in BY_TEXT:
        if any(words in " ".join(text.lower().split()) for text in texts.values()):
            return licence
    raise UnnamedError(f"{library.metadata['Name']} {library.version}: its metadata, sources and texts name no licence")


def _holders(library: Distribution, texts: dict[str, str]) -> list[str]:
    """Who holds the copyright, as the texts say; else who made it, and whom its sources name."""
    if held := _held(texts.values()):
        return held
    author = library.metadata.get("Author") or library.metadata.get("Author-email") or f"the authors of {library.name}"
    return [author, *_held(_sources(library))]


def _held(texts: Iterable[str]) -> list[str]:
    lines = (line.strip(" #*\t") for text in texts for line in text.splitlines() if _HOLDER.match(line))
    held = dict.fromkeys(line for line in lines if not any(mark in line for mark in _NO_HOLDER))
    return [re.sub(r"^copyright:?\s*", "", line, flags=re.IGNORECASE) for line in held]


def _sources(library: Distribution) -> Iterator[str]:
    for file in library.files or ():
        path = Path(str(file.locate()))
        if file.suffix == ".py" and path.exists():
            yield path.read_text(errors="replace")


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:3])))
