# SPDX-License-Identifier: Apache-2.0
"""``canferry tail``: the live signals of the running agent."""

from __future__ import annotations

import argparse
import contextlib
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from typing import TYPE_CHECKING

from agent.cli.addressing import add_agent_arguments, asked_socket

if TYPE_CHECKING:
    from argparse import Namespace, _SubParsersAction

EVERY_S, EVERY_S_MIN, EVERY_S_MAX = 0.25, 0.05, 60.0
_EPILOG = """\
examples:
  canferry tail
  canferry tail --message 'ENGINE_*' --signal '*RPM' '*TORQUE*'
  canferry tail --when 'VehicleSpeed > 30 and BRAKE.Pressed == 1'
  canferry tail --once --json | jq 'select(.message == "ENGINE_SPEED")'

On a terminal a table in place, what has changed highlighted; into a pipe one line a signal; with --json one a message:
  {"t": 1700000000.123, "bus": "can0", "id": 192, "extended": false, "message": "ENGINE_SPEED", "count": 4711,
   "signals": {"ENGINE_RPM": 1850.25}, "units": {"ENGINE_RPM": "rpm"}, "names": {}}

These are the latest values at each update, not every frame: the agent records those. Exit status: 0 when interrupted or
done; 1 where no agent answers; 2 for wrong usage.
"""


def add_parser(subparsers: _SubParsersAction[ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "tail",
        help="live signals of the running agent, decoded",
        description="Shows the latest value of each signal, as the agent sees the buses.",
        epilog=_EPILOG,
        formatter_class=RawDescriptionHelpFormatter,
    )
    add_agent_arguments(parser)
    for what in ("bus", "message", "signal"):
        parser.add_argument(
            f"--{what}", metavar="PATTERN", nargs="+", default=["*"], help=f"{what} names, with * and ?"
        )
    parser.add_argument("--when", metavar="CONDITION", default="", help="only while this is true; as in [[trigger]]")
    parser.add_argument("--every", metavar="SECONDS", type=_every, default=EVERY_S, help="default: %(default)s")
    parser.add_argument("--once", action="store_true", help="what there is now, and no more")
    parser.add_argument("--json", action="store_true", help="one JSON object a message, a line each")
    parser.set_defaults(run=run)


def run(args: Namespace) -> int:
    """Follow until interrupted."""
    from agent.live.signals import Selection
    from agent.live.tail import Follow, tail

    path = asked_socket(args)
    selection = Selection(tuple(args.bus), tuple(args.message), tuple(args.signal), args.when)
    in_place = sys.stdout.isatty() and not args.json and not args.once
    with contextlib.suppress(KeyboardInterrupt):
        tail(path, selection, Follow(0.0 if args.once else args.every, args.json, in_place), sys.stdout)
    return 0


def _every(text: str) -> float:
    with contextlib.suppress(ValueError):
        if EVERY_S_MIN <= float(text) <= EVERY_S_MAX:
            return float(text)
    raise argparse.ArgumentTypeError(f'"{text}"; accepted: {EVERY_S_MIN} to {EVERY_S_MAX:.0f} seconds')
