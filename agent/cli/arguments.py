# SPDX-License-Identifier: Apache-2.0
"""Options that several commands have: which agent they ask, and how 29-bit identifiers are matched."""

from __future__ import annotations

from argparse import BooleanOptionalAction
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

DEFAULT_CONFIG = Path("/etc/canferry/agent.toml")
J1939_ADVICE = "--j1939 (in a configuration j1939 = true of the [[bus]])"


def add_agent_arguments(parser: ArgumentParser) -> None:
    """``--config`` and ``--socket``."""
    parser.add_argument("--config", metavar="FILE", type=Path, help=f"of the agent; default: {DEFAULT_CONFIG}")
    parser.add_argument(
        "--socket", metavar="PATH", type=Path, help="of the agent; default: what its configuration says"
    )


def agent_socket(args: Namespace) -> Path:
    """The socket of the agent that is meant; ConfigError where its configuration has none."""
    from agent.live.client import socket_path

    return socket_path(args.socket, args.config, DEFAULT_CONFIG)


def add_j1939_argument(parser: ArgumentParser) -> None:
    """Add the option; None where it is not given."""
    parser.add_argument(
        "--j1939",
        action=BooleanOptionalAction,
        help="match 29-bit identifiers by PGN (J1939, NMEA 2000), or not; else as each DBC file says of itself",
    )
