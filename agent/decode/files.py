# SPDX-License-Identifier: Apache-2.0
"""A database file's bytes to text: which kind of file it is, and in which encoding it is written.

A DBC or SYM file has no place that says its encoding; an XML declaration may. Only names, units and value tables may
come out wrong, never a number.

    a byte order mark   says it: UTF-8 or UTF-16
    an XML declaration  says it
    all of it is UTF-8  it is that
    most of it is       UTF-8, and the bytes that are none are cp1252's: files are put together by hand
    neither             cp1252, GBK or Shift-JIS, whichever its bytes look like most

What a file of none of these looks like is no proof: whoever knows better says so (`[[bus]] dbc_encoding`), and a guess
is always reported. Looked at are the bytes past ASCII and their neighbours, up to `SAMPLE_BYTES` of them:

    cp1252      letters and signs that come alone or in twos
    GBK         pairs out of GB 2312, whose bytes are both past 0xA0; one letter within a Latin word is none
    Shift-JIS   kana, signs and the kanji of the first level; kana of half the width count half, unless alone: then not

Bytes that an encoding does not have become U+FFFD, and the place of the first is told. `read_text` raises
`DatabaseError`, one line, where the file cannot be read, holds nothing, or is something else.
"""

from __future__ import annotations

import codecs
import contextlib
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from agent.errors import DatabaseError

if TYPE_CHECKING:
    from pathlib import Path

Kind = Literal["dbc", "kcd", "sym", "arxml", "cdd"]
"""By the file's suffix; a file of any other is read as a DBC file."""

FILE_BYTES_MAX = 32 * 1024 * 1024
ACCEPTED = "a DBC file is accepted, or a KCD, SYM or ARXML file (*.dbc, *.kcd, *.sym, *.arxml)"

_BINARY = re.compile(rb"[\x00-\x08\x0e-\x1f]")
_KINDS: dict[Kind, tuple[str, re.Pattern[str]]] = {
    "kcd": ("a KCD file", re.compile(r"<(?:\w+:)?NetworkDefinition", re.IGNORECASE)),
    "arxml": ("an ARXML file", re.compile(r"<(?:\w+:)?AUTOSAR", re.IGNORECASE)),
    "cdd": ("a CDD file", re.compile(r"<CANDELA", re.IGNORECASE)),
    "sym": ("a SYM file", re.compile(r"^FormatVersion\s*=", re.MULTILINE)),
    "dbc": (
        "a DBC file",
        re.compile(
            r"^[ \t]*(?:VERSION[ \t]*\"|(?:NS_|BS_|BU_)[ \t]*:|(?:BO_|SG_|CM_|VAL_|VAL_TABLE_|BA_DEF_)[ \t])",
            re.MULTILINE,
        ),
    ),
}
"""Each kind with what shows it: of a DBC file anywhere, of the others in the first `SNIFFED_CHARS`."""
_OTHER_FORMATS = (
    (re.compile(r"<\?xml|<!DOCTYPE|<html", re.IGNORECASE), "an XML or HTML file"),
    (re.compile(r"\A\s*[\[{]"), "a JSON file"),
)
SNIFFED_CHARS = 4096

CODECS = {
    "utf-8": "utf-8-sig",
    "utf-16": "utf-16",
    "cp1250": "cp1250",
    "cp1251": "cp1251",
    "cp1252": "cp1252",
    "gbk": "gb18030",
    "big5": "big5hkscs",
    "shift_jis": "cp932",
    "euc_jp": "euc_jp",
    "euc_kr": "cp949",
}
"""By the name that a configuration gives: the codec that reads all of its text."""

_NAMES = {
    "cp1250": "cp1250",
    "cp1251": "cp1251",
    "cp1252": "cp1252",
    "iso8859-1": "cp1252",
    "gb18030": "gbk",
    "gb2312": "gbk",
    "gbk": "gbk",
    "big5": "big5",
    "big5hkscs": "big5",
    "cp932": "shift_jis",
    "shift_jis": "shift_jis",
    "euc_jp": "euc_jp",
    "cp949": "euc_kr",
    "euc_kr": "euc_kr",
}
"""By Python's name of a codec, without loading it: a megabyte of tables that few files need. All else is found out:
where a file is not UTF-8 it is guessed, and UTF-16 without a byte order mark would have been called a binary file."""
_XML_ENCODING = re.compile(rb"\s*<\?xml[^>]*?encoding\s*=\s*[\"']([A-Za-z0-9._-]{1,40})[\"']")

SAMPLE_BYTES = 1 << 18
_UTF8_MARK = b"\xef\xbb\xbf"
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_MOSTLY = 0.8
"""Of the bytes past ASCII, where a file is UTF-8 though not all of them are."""
_HALF = 0.5
"""Of the characters past ASCII, from where on they look like an encoding's."""

_STRANGE = re.compile(rb"[\x00-\x7f]?(?:[\x80-\xff][\x40-\x7e]?)+[\x00-\x7f]?")
_HIGH = re.compile(rb"[\x80-\xff]+")
_UTF8 = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
_WESTERN = re.compile(
    rb"[\x80\x82\x84\x85\x91-\x94\x96\x97\x99\xa0\xa7\xa9\xae\xb0-\xb3\xb5\xb7\xb9\xba\xbc-\xbe\xc0-\xff]"
)
_GBK = re.compile(
    rb"(?P<common>(?:[\xa1-\xa9\xb0-\xf7][\xa1-\xfe])+)|[\x81-\xfe][\x40-\x7e\x80-\xfe]|(?P<none>[\x80-\xff])"
)
_SHIFT_JIS = re.compile(
    rb"(?P<common>(?:[\x81-\x84\x87-\x97][\x40-\x7e\x80-\xfc]|\x98[\x40-\x72])+)"
    rb"|[\x81-\x9f\xe0-\xfc][\x40-\x7e\x80-\xfc]|(?P<kana>[\xa1-\xdf]{2,})|[\xa1-\xdf]|(?P<none>[\x80-\xff])"
)


@dataclass(frozen=True, slots=True)
class Decoded:
    """A file's text.

    encoding   as `CODECS` names it, or latin-1
    line       of the first byte that is not UTF-8, or not the encoding's; 0 where there is nothing to tell
    reason     what there is to tell about it
    """

    text: str
    encoding: str
    line: int = 0
    reason: str = ""


def kind_of(path: Path) -> Kind:
    """The kind that the file's suffix says."""
    suffix = path.suffix.lower().removeprefix(".")
    return next((kind for kind in _KINDS if kind == suffix), "dbc")


def read_text(path: Path, encoding: str = "auto") -> Decoded:
    """The file's text with line feeds only, in an encoding of `CODECS`, or the one that is found."""
    content = _read(path)
    if not content.strip():
        raise DatabaseError(f"{path}: the file is empty, {ACCEPTED}")
    if encoding != "utf-16":
        _refuse_binary(path, content)
    decoded = decode(content, encoding)
    text = decoded.text.replace("\r\n", "\n").replace("\r", "\n")
    _refuse_other_kind(path, kind_of(path), text)
    return replace(decoded, text=text)


def _refuse_other_kind(path: Path, kind: Kind, text: str) -> None:
    start = text[:SNIFFED_CHARS]
    pattern = _KINDS[kind][1]
    if pattern.search(text if kind == "dbc" else start):
        return
    others = [(f"{what}, which is to be called *.{other}", shows) for other, (what, shows) in _KINDS.items()]
    found = (what for what, shows in others if shows is not pattern and shows.search(start))
    what = next(found, "") or next((what for shows, what in _OTHER_FORMATS if shows.search(start)), "")
    if not what:
        begins = " (no line of it begins with BO_, BU_ or another DBC keyword)" if kind == "dbc" else ""
        what = f"not {_KINDS[kind][0]}{begins}"
    raise DatabaseError(f"{path}: this is {what}, {ACCEPTED}")


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
    if not content.startswith(UTF16_MARKS) and _BINARY.search(content[:SNIFFED_CHARS]):
        raise DatabaseError(f"{path}: this is a binary file, {ACCEPTED}")


def decode(content: bytes, encoding: str = "auto") -> Decoded:
    """The text of a file's bytes, in this encoding unless a byte order mark says another."""
    if content.startswith(_UTF8_MARK):
        encoding = "utf-8"
    elif content.startswith(UTF16_MARKS):
        encoding = "utf-16"
    elif encoding == "auto":
        encoding = _declared(content)
    if encoding != "auto":
        return _decode_as(content, encoding)
    try:
        return Decoded(content.decode("utf-8"), "utf-8")
    except UnicodeDecodeError as error:
        line = _line(content, error.start)
    sample = _sample(content)
    if _share_of_utf8(sample) >= _MOSTLY:
        text = content.decode("utf-8", errors="surrogateescape").translate(_CP1252_BYTES)
        return Decoded(text, "utf-8", line, "text that is not UTF-8 as the rest of the file is, read as cp1252")
    decoded = _decode_as(content, _likeliest(sample))
    reason = f"text that is not UTF-8, the file is read as {decoded.encoding}"
    if decoded.reason:
        reason += f"; {decoded.reason} in line {decoded.line}"
    return Decoded(decoded.text, decoded.encoding, line, reason)


def _declared(content: bytes) -> str:
    """The encoding that an XML declaration says, as `CODECS` names it; "auto" where there is none, or another."""
    declaration = _XML_ENCODING.match(content, 0, 200)
    with contextlib.suppress(LookupError):
        if declaration is not None:
            return _NAMES.get(codecs.lookup(declaration[1].decode("ascii")).name, "auto")
    return "auto"


def _decode_as(content: bytes, encoding: str) -> Decoded:
    codec = CODECS[encoding]
    try:
        return Decoded(content.decode(codec), encoding)
    except UnicodeDecodeError as error:
        start = error.start
    if encoding == "cp1252":  # five bytes mean nothing there
        return Decoded(content.decode("latin-1"), "latin-1")
    line = content[:start].decode(codec, errors="replace").count("\n") + 1
    return Decoded(content.decode(codec, errors="replace"), encoding, line, f"text that is not {encoding}, left out")


def _likeliest(sample: bytes) -> str:
    high = max(1, sum(map(len, _HIGH.findall(sample))))
    western = sum(len(_WESTERN.findall(run)) for run in _HIGH.findall(sample) if len(run) <= 2) / high
    shares = {"cp1252": western, "gbk": _share_of_gbk(sample), "shift_jis": _share_of_shift_jis(sample)}
    best = max(shares, key=lambda name: shares[name])  # the first of equals
    return best if shares[best] >= _HALF else "cp1252"


def _share_of_gbk(sample: bytes) -> float:
    good = bad = none = 0
    for match in _GBK.finditer(sample):
        size = len(match.group())
        if match["none"]:
            none += 1
        elif match["common"] and not (size == 2 and _within_word(sample, match.start(), match.end())):
            good += size // 2
        else:
            bad += size // 2
    return (good - 2 * none) / max(1, good + bad + none)


def _share_of_shift_jis(sample: bytes) -> float:
    good = bad = none = 0.0
    for match in _SHIFT_JIS.finditer(sample):
        size = len(match.group())
        if match["none"]:
            none += 1
        elif match["common"]:
            good += size // 2
        elif match["kana"]:
            good, bad = good + size / 2, bad + size / 2
        else:
            bad += 1
    return (good - 2 * none) / max(1.0, good + bad + none)


def _share_of_utf8(sample: bytes) -> float:
    high = sum(map(len, _HIGH.findall(sample)))
    return sum(map(len, _UTF8.findall(sample))) / max(1, high)


def _within_word(sample: bytes, start: int, end: int) -> bool:
    return sample[start - 1 : start].isalpha() and sample[end : end + 1].isalpha()


def _sample(content: bytes) -> bytes:
    """The bytes past ASCII with their neighbours, each place a line."""
    places, size = [], 0
    for match in _STRANGE.finditer(content):
        places.append(match.group()[: SAMPLE_BYTES - size])
        size += len(places[-1])
        if size >= SAMPLE_BYTES:
            break
    return b"\n".join(places)


def _line(content: bytes, at: int) -> int:
    return content.count(b"\n", 0, at) + 1


def _cp1252_bytes() -> dict[int, str]:
    """What an undecoded byte is, as surrogateescape marks it."""
    return {0xDC00 + byte: bytes([byte]).decode("cp1252", errors="ignore") or chr(byte) for byte in range(0x80, 0x100)}


_CP1252_BYTES = _cp1252_bytes()
