# SPDX-License-Identifier: Apache-2.0
"""What `canferry explain` starts from: the ids that a text may stand for, and what is known of buses and frames.

    0x123, 123h      hexadecimal; up to 7FF an 11-bit identifier, beyond a 29-bit one
    291              decimal, likewise
    18FEF100x        hexadecimal and 29-bit, as Vector's tools write it; so are eight digits, as candump does: 00000123
    7E0              hexadecimal, where it cannot be decimal and no message or signal has the name
    NAME             a message or a signal, also as message.signal, bus.message or bus.message.signal; upper and lower
                     case are not distinguished

Definitions and last frames come from the running agent. Where none answers, the definitions come from a configuration.

Failure: NoAgentError where neither is available; ConfigError and DatabaseError of a configuration that was named.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.batch.catalog import Catalog, encode_catalog
from agent.config import load_config
from agent.decode.loading import load_buses
from agent.live.client import NoAgentError, ask, ask_once, socket_path
from agent.live.protocol import define
from agent.model import EXTENDED, EXTENDED_MASK, STANDARD_MASK

if TYPE_CHECKING:
    from pathlib import Path

    from agent.config import Config
    from agent.live.protocol import Definitions, Row
    from agent.live.snapshot import IntegrityStatus, PriorityStatus

_HEX_MARKED = re.compile(r"0[xX]([0-9A-Fa-f]{1,8})|([0-9A-Fa-f]{1,8})[hH]")
_EXTENDED = re.compile(r"(?:0[xX])?([0-9A-Fa-f]{1,8})[xX]|(?:0[xX])?([0-9A-Fa-f]{8})")
_BARE_HEX = re.compile(r"[0-9A-Fa-f]{1,8}")


@dataclass(frozen=True, slots=True)
class ParsedId:
    """An arbitration id word that a text may stand for, and how it was read."""

    can_id: int
    how: str


def parse_ids(text: str) -> list[ParsedId]:
    """The ids that a text may stand for, the likeliest first; none where it can only be a name."""
    found: list[ParsedId] = []
    if match := _EXTENDED.fullmatch(text):
        found += _word(int(match[1] or match[2], 16), "hexadecimal, 29 bit", extended=True)
    if match := _HEX_MARKED.fullmatch(text):
        found += _word(int(match[1] or match[2], 16), "hexadecimal")
    if text.isdecimal() and text.isascii() and len(text) <= 10:
        found += _word(int(text), "decimal")
    if _BARE_HEX.fullmatch(text):
        found += _word(int(text, 16), "hexadecimal")
    return list({reading.can_id: reading for reading in reversed(found)}.values())[::-1]


def _word(number: int, how: str, *, extended: bool = False) -> list[ParsedId]:
    if number > EXTENDED_MASK:
        return []
    return [ParsedId(number | EXTENDED if extended or number > STANDARD_MASK else number, how)]


def other_kind(can_id: int) -> int | None:
    """The id of the same number in the other kind of frame; None where 11 bits do not hold it."""
    if can_id & EXTENDED:
        number = can_id & EXTENDED_MASK
        return number if number <= STANDARD_MASK else None
    return can_id | EXTENDED


def shown_id(can_id: int) -> str:
    """An id as it is written here: 0x123, or 0x18FEF100x for 29 bits."""
    return f"0x{can_id & EXTENDED_MASK:08X}x" if can_id & EXTENDED else f"0x{can_id:03X}"


@dataclass(frozen=True, slots=True)
class ExplainInput:
    """Definitions and last frames; `time_ns` is the agent's now, 0 where a configuration alone tells.

    silent      why no agent told it
    integrity   what counters and checksums have told of each message that is verified
    priorities     what has become of the batches of each priority
    """

    definitions: Definitions
    rows: tuple[Row, ...] = ()
    time_ns: int = 0
    silent: str = ""
    integrity: tuple[IntegrityStatus, ...] = ()
    priorities: tuple[PriorityStatus, ...] = ()


def gather(socket: Path | None, config: Path | None, default_config: Path) -> ExplainInput:
    """Of the agent that answers, else of the configuration that was named, or of the default one where it is there."""
    try:
        return _of_agent(socket_path(socket, config, default_config))
    except NoAgentError as error:
        file = config or default_config
        if socket is not None or (config is None and not file.exists()):
            raise
        return _of_config(load_config(file), f"{error}; this is what {file} says")


def _of_agent(path: Path) -> ExplainInput:
    definitions: Definitions | None = None
    for answer in ask(path, "frames"):
        definitions = answer.definitions or definitions
        if answer.frames is not None and definitions is not None:
            rows, now_ns = answer.frames.rows, answer.frames.time_ns
            snapshot = ask_once(path, "status").snapshot
            if snapshot is None:
                return ExplainInput(definitions, rows, now_ns)
            return ExplainInput(
                definitions, rows, now_ns, integrity=snapshot.integrity, priorities=snapshot.spool.priorities
            )
    raise NoAgentError(f"{path}: the agent ended the connection without an answer")


def _of_config(config: Config, silent: str) -> ExplainInput:
    loaded = load_buses(config.buses)
    catalog = Catalog(tuple(bus.name for bus in config.buses), loaded.messages)
    return ExplainInput(define(config, loaded.messages, encode_catalog(catalog)), silent=silent)
