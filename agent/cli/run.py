# SPDX-License-Identifier: Apache-2.0
"""``canferry run``: the daemon."""

from __future__ import annotations

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path
from typing import TYPE_CHECKING

from agent.cli.arguments import DEFAULT_CONFIG

if TYPE_CHECKING:
    from argparse import Namespace, _SubParsersAction

    from agent.config import Config

_EPILOG = """\
examples:
  canferry run
  canferry run --config agent.toml

SIGHUP: the configuration and the DBC files are read anew, and used if all of it is sound.
SIGUSR1: from now on debug lines are logged too; at the next one they are not.
SIGTERM or SIGINT: what has been read is sealed and stored, the uplink gets [agent] shutdown_grace, exit 0.
Exit status: 0; 1 where the disk or something else it needs fails; 2 where the configuration is not usable.
"""


def add_parser(subparsers: _SubParsersAction[ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "run",
        help="the daemon: from the buses to the broker",
        description="Reads the CAN buses, decodes, stores, and uploads, until it is stopped.",
        epilog=_EPILOG,
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", metavar="FILE", type=Path, default=DEFAULT_CONFIG, help="default: %(default)s")
    parser.set_defaults(run=run)


def run(args: Namespace) -> int:
    """Run until stopped."""
    import asyncio

    from agent.system import process
    from agent.system.log import Logging

    config = _usable(args.config)
    logging = Logging(config.log.level, config.log.format)
    process.configure_allocator()
    from agent.daemon import daemon

    asyncio.run(daemon.run(config, reread=lambda: _usable(args.config), logging=logging))
    return 0


def _usable(file: Path) -> Config:
    """The configuration of a file; DBC files are loaded, and refused, by the daemon itself."""
    from agent.cli.preflight import check_buses, check_credentials, check_endpoint, check_modem, check_spool, refuse
    from agent.config import load_config

    config = load_config(file)
    refuse(config, check_buses(config.buses))
    refuse(config, check_modem(config))
    refuse(config, check_spool(config))
    refuse(config, check_endpoint(config))
    refuse(config, check_credentials(config))
    return config
