# SPDX-License-Identifier: Apache-2.0
"""``canferry erase``: what is left of drives on the disk, overwritten at once."""

from __future__ import annotations

import json
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from agent.cli.arguments import DEFAULT_CONFIG

if TYPE_CHECKING:
    from argparse import Namespace, _SubParsersAction

    from agent.pipeline.erase import Erased

_EPILOG = """\
examples:
  canferry erase --config agent.toml
  systemctl stop canferry && sudo -u canferry canferry erase
  sudo -u canferry canferry erase --everything

What the broker has acknowledged stays on the disk until its place is written again. This overwrites it with zeros at
once, and so it does with what the journals still hold of sealed batches, and with the copies in refused/ and corrupt/.
What waits for the broker stays, and so does the open batch of an agent that was killed: --everything erases these, too,
and what another version has left (set-aside-*); the next start tells the cloud what is missing.
Catalogs and DBC files stay: they name signals, and hold nothing of a drive.
Flash memory may keep old copies of blocks that only its maker's tools reach; fstrim tells it that they are free.

While an agent runs it is refused. [spool] erase = "acknowledged" makes the agent itself do it all the time.
Exit status: 0; 1 where an agent runs or the disk refuses; 2 for wrong usage.
"""


def add_parser(subparsers: _SubParsersAction[ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "erase",
        help="overwrite what is acknowledged and still on the disk",
        description="Overwrites what is left of sent batches under spool.path; no agent may run meanwhile.",
        epilog=_EPILOG,
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", metavar="FILE", type=Path, default=DEFAULT_CONFIG, help="default: %(default)s")
    parser.add_argument("--everything", action="store_true", help="also what waits to be sent, and is lost then")
    parser.add_argument("--json", action="store_true", help="what was done as one JSON object")
    parser.set_defaults(run=run)


def run(args: Namespace) -> int:
    """Erase, and print what stays."""
    from agent.config import load_config
    from agent.pipeline.erase import erase

    config = load_config(args.config)
    erased = erase(config, everything=args.everything)
    print(json.dumps(asdict(erased)) if args.json else _summary(erased, config.spool.path))
    return 0


def _summary(erased: Erased, path: Path) -> str:
    kept = [
        f"{number} {what}"
        for number, what in (
            (erased.waiting, "batches wait for the broker"),
            (erased.open_batches, "open batches are yet to be sealed"),
            (erased.set_aside, "spools of another version are set aside"),
        )
        if number
    ]
    stays = f"; what stays: {', '.join(kept)} (--everything erases that too)" if kept else "; nothing stays"
    return f"{path}: {erased.overwritten_bytes} bytes overwritten{stays}"
