# SPDX-License-Identifier: Apache-2.0
"""``canferry simulate``: the demo's car on a bus."""

from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError, RawDescriptionHelpFormatter
from typing import TYPE_CHECKING

from agent.cli.playing import add_bus_arguments, play_onto

if TYPE_CHECKING:
    from argparse import Namespace, _SubParsersAction

_EPILOG = """\
examples:
  ip link add dev vcan0 type vcan && ip link set vcan0 up
  canferry simulate --to vcan0
  canferry simulate --to 239.74.163.2 --interface udp_multicast --seconds 60

About 1,000 frames a second of the car that the demo drives; its DBC file is dbc/demo_car.dbc of the sources, and
/usr/share/canferry/demo_car.dbc where the package is installed.
"""


def add_parser(subparsers: _SubParsersAction[ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "simulate",
        help="the demo's car on a virtual bus, for a bench without a car",
        description="Drives the demo's car and sends its frames on a bus, until it is stopped.",
        epilog=_EPILOG,
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("--to", metavar="CHANNEL", required=True, help="such as vcan0")
    add_bus_arguments(parser)
    parser.add_argument("--seconds", metavar="S", type=_seconds, help="of driving; without end if not given")
    parser.add_argument("--seed", metavar="N", type=int, default=1, help="another number, another drive: %(default)s")
    parser.add_argument("--json", action="store_true", help="the summary as one JSON object")
    parser.set_defaults(run=run)


def _seconds(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not int(text):
        raise ArgumentTypeError(f"{text!r} is no time; accepted: whole seconds, 1 or more")
    return int(text)


def run(args: Namespace) -> int:
    """Drive, and print what was sent."""
    import itertools

    from agent.sources.simulator import Drive

    return play_onto(args, itertools.islice(Drive(args.seed), args.seconds), {0: args.to}, speed=1.0)
