# SPDX-License-Identifier: Apache-2.0
"""The version of the spool's format, which state, segments and journal declare behind their magic. Pure.

Promise: what a later or an earlier version of canferry has left is known before a byte of it is written; it is neither
written to nor taken for damage (`set_aside.py` says what becomes of it). The state's version is that of the whole
folder: whoever changes what is in a segment or a journal raises that, too.

A flipped byte is damage of today's version, no other one: of the state both copies of a slot have to agree, a segment's
head must have a checksum that holds, and a journal's mark none that would hold for today's version.
"""

from __future__ import annotations

from agent.errors import SpoolVersionError

VERSION = 1


def other_version(data: bytes, magic: bytes, width: int = 4) -> int | None:
    """The version that is declared there, where it is not this one; None, too, where it is nothing of ours."""
    version = int.from_bytes(data[len(magic) : len(magic) + width], "little")
    return version if data[: len(magic)] == magic and version != VERSION else None


def refusal(path: object, version: int) -> SpoolVersionError:
    """To be raised."""
    return SpoolVersionError(
        f"{path}: written by another version of canferry, in format {version}; accepted: {VERSION}"
    )
