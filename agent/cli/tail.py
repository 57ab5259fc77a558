# SPDX-License-Identifier: Apache-2.0
"""``canferry tail``: the live signals of the running agent."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from typing import TYPE_CHECKING

from agent.cli.arguments import add_agent_arguments, agent_socket
from agent.errors import ConfigError

if TYPE_CHECKING:
    from argparse import Namespace, _SubParsersAction
    from collections.abc import Callable

EVERY_S, EVERY_S_MIN, EVERY_S_MAX = 0.25, 0.05, 60.0
SPAN_S, SPAN_S_MIN, SPAN_S_MAX = 60.0, 5.0, 3600.0
_EPILOG = """\
examples:
  canferry tail
  canferry tail --message 'ENGINE_*' --signal '*RPM' '*TORQUE*'
  canferry tail --when 'VehicleSpeed > 30 and BRAKE.Pressed == 1'
  canferry tail --plot ENGINE_RPM BRAKE.Pressed --seconds 30
  canferry tail --once --json | jq 'select(.message == "ENGINE_SPEED")'

On a terminal a table in place, what has changed highlighted; into a pipe one line a signal; with --json one a message:
  {"t": 1700000000.123, "bus": "can0", "id": 192, "extended": false, "message": "ENGINE_SPEED", "count": 4711,
   "signals": {"ENGINE_RPM": 1850.25}, "units": {"ENGINE_RPM": "rpm"}, "names": {}}

--plot draws curves on the terminal, of as many signals as have room.

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
    for what, also in (("bus", ""), ("message", ""), ("signal", ", also as MESSAGE.SIGNAL or bus.MESSAGE.SIGNAL")):
        text = f"{what} names, with * and ?{also}"
        parser.add_argument(f"--{what}", metavar="PATTERN", nargs="+", action="extend", default=[], help=text)
    parser.add_argument(
        "--plot",
        metavar="SIGNAL",
        nargs="+",
        action="extend",
        default=[],
        help="curves of these signals, instead of a table",
    )
    parser.add_argument(
        "--seconds",
        metavar="S",
        type=_within(SPAN_S_MIN, SPAN_S_MAX),
        help=f"how far back --plot looks; default: {SPAN_S:.0f}",
    )
    parser.add_argument("--when", metavar="CONDITION", default="", help="only while this is true; as in [[trigger]]")
    parser.add_argument(
        "--every",
        metavar="SECONDS",
        type=_within(EVERY_S_MIN, EVERY_S_MAX),
        default=EVERY_S,
        help="between two updates; default: %(default)s",
    )
    parser.add_argument("--once", action="store_true", help="what there is now, and no more")
    parser.add_argument("--json", action="store_true", help="one JSON object a message, a line each")
    parser.set_defaults(run=run)


def run(args: Namespace) -> int:
    """Follow until interrupted."""
    from agent.live.signals import Selection
    from agent.live.tail import TailOptions, tail

    _check(args)
    path = agent_socket(args)
    bus, message, signal = (tuple(patterns or ["*"]) for patterns in (args.bus, args.message, args.plot or args.signal))
    selection = Selection(bus, message, signal, args.when)
    in_place = sys.stdout.isatty() and not args.json and not args.once
    plot_s = (args.seconds or SPAN_S) if args.plot else 0.0
    with contextlib.suppress(KeyboardInterrupt):
        tail(path, selection, TailOptions(0.0 if args.once else args.every, args.json, in_place, plot_s), sys.stdout)
    return 0


def _check(args: Namespace) -> None:
    """Refuse what does not go together."""
    if not args.plot:
        if args.seconds is not None:
            raise ConfigError("--seconds is how far back --plot looks; accepted: beside --plot")
        return
    for option in ("json", "once"):
        if getattr(args, option):
            raise ConfigError(f"--plot draws until it is interrupted; accepted: without --{option}")
    if args.signal:
        raise ConfigError("--signal beside --plot; accepted: the signals after --plot alone")
    if not sys.stdout.isatty() or os.environ.get("TERM") == "dumb":
        raise ConfigError("--plot draws on a terminal, and this is none; accepted: without it, or --json")


def _within(least: float, most: float) -> Callable[[str], float]:
    """Seconds, as an argument."""

    def seconds(text: str) -> float:
        with contextlib.suppress(ValueError):
            if least <= float(text) <= most:
                return float(text)
        raise argparse.ArgumentTypeError(f'"{text}"; accepted: {least:g} to {most:g} seconds')

    return seconds
