# SPDX-License-Identifier: Apache-2.0
"""Which agent a command asks: by its socket, or by the configuration that it runs with."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace

DEFAULT_CONFIG = Path("/etc/canferry/agent.toml")


def add_agent_arguments(parser: ArgumentParser) -> None:
    """``--config`` and ``--socket``."""
    parser.add_argument("--config", metavar="FILE", type=Path, help=f"of the agent; default: {DEFAULT_CONFIG}")
    parser.add_argument(
        "--socket", metavar="PATH", type=Path, help="of the agent; default: what its configuration says"
    )


def asked_socket(args: Namespace) -> Path:
    """Where the agent that is meant answers; ConfigError where its configuration tells no place."""
    from agent.live.client import socket_path

    return socket_path(args.socket, args.config, DEFAULT_CONFIG)
