# SPDX-License-Identifier: Apache-2.0
"""A DBC file's bytes to text, and what is no DBC file at all.

Which encoding it is written in is found by `encodings`, unless the caller says it. Only names, units and value tables
may come out wrong, never a number.

Raises `DatabaseError`, one line, where the file cannot be read, holds nothing, or is something else.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from agent.decode.encodings import UTF16_MARKS, Decoded, decode
from agent.errors import DatabaseError

if TYPE_CHECKING:
    from pathlib import Path

FILE_BYTES_MAX = 64 * 1024 * 1024
ACCEPTED = "a DBC file (Vector's text format, *.dbc) is accepted"

_BINARY = re.compile(rb"[\x00-\x08\x0e-\x1f]")
_DBC_LINE = re.compile(
    r"^[ \t]*(?:VERSION[ \t]*\"|(?:NS_|BS_|BU_)[ \t]*:|(?:BO_|SG_|CM_|VAL_|VAL_TABLE_|BA_DEF_)[ \t])",
    re.MULTILINE,
)
_OTHER_FORMATS = (
    (re.compile(r"<AUTOSAR", re.IGNORECASE), "an ARXML file"),
    (re.compile(r"<NetworkDefinition", re.IGNORECASE), "a KCD file"),
    (re.compile(r"<\?xml|<!DOCTYPE|<html", re.IGNORECASE), "an XML or HTML file"),
    (re.compile(r"^FormatVersion\s*=", re.MULTILINE), "a SYM file"),
    (re.compile(r"\A\s*[\[{]"), "a JSON file"),
)
_SNIFFED = 4096


def read_text(path: Path, encoding: str = "auto") -> Decoded:
    """The file's text with line feeds only, in an encoding of `CODECS`, or the one that is found."""
    content = _read(path)
    if not content.strip():
        raise DatabaseError(f"{path}: the file is empty, {ACCEPTED}")
    if encoding != "utf-16":
        _refuse_binary(path, content)
    decoded = decode(content, encoding)
    text = decoded.text.replace("\r\n", "\n").replace("\r", "\n")
    if _DBC_LINE.search(text) is None:
        start = text[:_SNIFFED]
        what = next((name for pattern, name in _OTHER_FORMATS if pattern.search(start)), "not a DBC file")
        detail = " (no line of it begins with BO_, BU_ or another DBC keyword)" if what.startswith("not") else ""
        raise DatabaseError(f"{path}: this is {what}{detail}, {ACCEPTED}")
    return replace(decoded, text=text)


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise DatabaseError(f"{path}: the file is larger than {FILE_BYTES_MAX} bytes, {ACCEPTED}")
        return path.read_bytes()
    except FileNotFoundError:
        raise DatabaseError(f"{path}: there is no such file, {ACCEPTED}") from None
    except IsADirectoryError:
        raise DatabaseError(f"{path}: this is a folder, {ACCEPTED}") from None
    except OSError as error:
        raise DatabaseError(f"{path}: cannot be read: {error.strerror or error}") from None


def _refuse_binary(path: Path, content: bytes) -> None:
    if not content.startswith(UTF16_MARKS) and _BINARY.search(content[:_SNIFFED]):
        raise DatabaseError(f"{path}: this is a binary file, {ACCEPTED}")
