# SPDX-License-Identifier: Apache-2.0
"""What is known for an explanation: of the running agent, or of a configuration alone where none answers.

Failure: NoAgentError where neither is to be had; ConfigError and DatabaseError of a configuration that was named.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.batch.catalog import Catalog, encode_catalog
from agent.config import load_config
from agent.decode.loading import load_buses
from agent.live.client import NoAgentError, ask, ask_once, socket_path
from agent.live.defining import define

if TYPE_CHECKING:
    from pathlib import Path

    from agent.config import Config
    from agent.live.protocol import Definitions, Row
    from agent.live.snapshot import IntegrityStatus, PriorityStatus


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
