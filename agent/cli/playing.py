# SPDX-License-Identifier: Apache-2.0
"""Frames onto a bus, for `replay --to` and `simulate`: their options, and the summary that they print."""

from __future__ import annotations

import contextlib
import sys
from argparse import ArgumentTypeError
from typing import TYPE_CHECKING

from agent.cli.stdout import json_text
from agent.system.printable import printable, printable_line

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Iterable, Mapping

    from agent.model import FrameBlock


def add_bus_arguments(parser: ArgumentParser) -> None:
    """What kind of bus it is."""
    parser.add_argument(
        "--interface", metavar="NAME", default="socketcan", help="python-can's name of the bus' kind: %(default)s"
    )
    parser.add_argument(
        "--real-bus", action="store_true", help="allow a bus that is not virtual; frames on it can move things"
    )


def speed(text: str) -> float:
    """An argument that says how many times real time."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise ArgumentTypeError(f"{text!r} is no speed; accepted: a number above 0, such as 1 or 0.5")
    return value


def play_onto(args: Namespace, blocks: Iterable[FrameBlock], channels: Mapping[int, str], *, speed: float) -> int:
    """Play blocks onto channels, by bus index, and print what was sent; 130 where interrupted."""
    from agent.sources.transmit import Played, open_bus, play

    played = Played()
    with contextlib.ExitStack() as opened:
        names = dict.fromkeys(channels.values())
        bus = {name: opened.enter_context(open_bus(args.interface, name, allow_real=args.real_bus)) for name in names}
        buses = {index: (name, bus[name]) for index, name in channels.items()}
        print(f"playing onto {printable_line(', '.join(names))}; Ctrl-C ends it", file=sys.stderr)
        with contextlib.suppress(KeyboardInterrupt):
            play(blocks, buses, speed=speed, played=played)
    summary = {
        "frames": sum(played.frames.values()),
        "frames_by_channel": played.frames,
        "late_s_max": round(played.late_s_max, 3),
    }
    if args.json:
        print(json_text(summary))
    else:
        for name, frames in played.frames.items():
            print(f"{printable(name):<16}{frames:>14,} frames")
        print(f"{'latest':<16}{played.late_s_max * 1e3:>14,.1f} ms behind its time")
    return 0 if played.ended else 130
