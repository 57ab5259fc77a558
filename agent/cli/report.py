# SPDX-License-Identifier: Apache-2.0
"""``canferry report``: one HTML page that shows a drive."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, ArgumentTypeError, RawDescriptionHelpFormatter
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from agent.cli.arguments import add_j1939_argument
from agent.cli.recording import Progress, Recording
from agent.cli.stdout import json_text, print_message
from agent.errors import ConfigError
from agent.system.printable import printable_line

if TYPE_CHECKING:
    from argparse import Namespace, _SubParsersAction
    from collections.abc import Iterator

    from agent.model import FrameBlock
    from agent.sources.replay import LogReader

_HOURS = 24.0
_EPILOG = """\
examples:
  canferry report received/car-0001 --html drive.html
  canferry report /var/lib/canferry --html drive.html --hours 1.5
  canferry report drive.log --dbc can0=powertrain.dbc --dbc can1=radar.dbc --html drive.html

The page shows what was recorded and when, each signal as a plot with its unit and value names, gaps with their
reasons, events, corrections of the clock, each message's rate beside its DBC file's cycle time, and which message
takes how many bytes, and what that comes to in a month. It needs neither network nor library: one file, for any
browser, for paper, light or dark.
A recorded log (candump .log, .asc, .blf, .trc, .csv, .mf4, also compressed) is taken through the agent's own parts
first: everything that its DBC files describe, in batches of ten seconds.
Exit status: 0; 1 where a batch could not be read; 2 for wrong usage.
"""


def add_parser(subparsers: _SubParsersAction[ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "report",
        help="a drive as one HTML page: plots, gaps, rates, bytes",
        description="Writes a page that shows what batch files, a spool folder or a recorded log hold.",
        epilog=_EPILOG,
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("paths", metavar="PATH", nargs="+", type=Path, help="as for export; with --dbc a recorded log")
    parser.add_argument("--html", metavar="FILE", type=Path, required=True, help="the page")
    parser.add_argument("--dbc", metavar="[BUS=]FILE", action="append", help="for a log; may be given several times")
    parser.add_argument(
        "--bus", metavar="BUS", action="append", help="only this bus of the log; may be given several times"
    )
    parser.add_argument("--acknowledged", action="store_true", help="of a spool: as for export")
    add_j1939_argument(parser)
    parser.add_argument("--vehicle", metavar="ID", help="of which, where there are several; of a log: its name")
    parser.add_argument(
        "--hours", metavar="H", type=_hours, default=2.0, help="driven a day, for bytes a month: %(default)g"
    )
    parser.add_argument("--json", action="store_true", help="the summary as one JSON object")
    parser.set_defaults(run=run)


def run(args: Namespace) -> int:
    """Write the page; 1 where something could not be read."""
    from agent.cli.report_page.page import page
    from agent.cli.report_page.survey import survey
    from agent.receiver.atomic_output import atomic_output
    from agent.receiver.inventory import Inventory

    _check(args)
    recording = Recording()
    with ExitStack() as opened:
        progress = opened.enter_context(Progress())
        paths, source = args.paths, ", ".join(path.absolute().name for path in args.paths)
        progress.show(f"{source}: looking into it", now=True)
        if args.dbc is not None:
            from agent.cli.report_page.recorded import recorded

            def watched(reader: LogReader) -> Iterator[FrameBlock]:
                return progress.frames(recording.blocks(reader), source)

            log = recorded(
                args.paths[0], args.dbc, args.bus, args.vehicle, watched, j1939=args.j1939, on_hint=print_message
            )
            paths = [opened.enter_context(log)]
        vehicle = None if args.dbc is not None else args.vehicle
        found = survey(Inventory(paths, acknowledged=args.acknowledged), vehicle, progress.batches(args.html.name))
        progress.show(f"{args.html.name}: drawing", now=True)
        content = "".join(page(found, source, args.hours)).encode()
    with atomic_output(args.html) as fresh:
        fresh.write_bytes(content)
    summary = {
        "vehicle": found.vehicle,
        "frames": found.frames,
        "samples": found.samples,
        "batches": found.batches,
        "batch_bytes": found.size_bytes,
        "gaps": len(found.gaps),
        "events": len(found.events),
        "page_bytes": len(content),
        "problems": [{"place": problem.place, "reason": problem.reason} for problem in found.problems],
    } | recording.counters()
    if args.json:
        print(json_text(summary))
    else:
        for problem in found.problems:
            print_message(str(problem))
        text = f"{found.frames:,} frames, {found.samples:,} samples, {len(found.gaps)} gaps"
        print(printable_line(f"{args.html}: {text}; {len(content) / 1e6:.1f} MB"), file=sys.stderr)
    recording.raise_damage()
    return 1 if found.problems else 0


def _check(args: Namespace) -> None:
    """Refuse what cannot be done before any work is."""
    if args.dbc is not None and len(args.paths) > 1:
        raise ConfigError(f"--dbc is for one recorded log; accepted: one PATH beside it, not {len(args.paths)}")
    if args.j1939 is not None and args.dbc is None:
        raise ConfigError("--j1939 is for a recorded log; accepted: beside --dbc")
    if args.bus is not None and args.dbc is None:
        raise ConfigError("--bus is for a recorded log; accepted: beside --dbc")
    if not args.html.absolute().parent.is_dir():
        raise ConfigError(f"--html {args.html}: there is no folder {args.html.absolute().parent}")
    if args.html.is_dir():
        raise ConfigError(f"--html {args.html} is a folder: name a file in it")


def _hours(written: str) -> float:
    try:
        value = float(written)
    except ValueError:
        value = 0.0
    if not 0 < value <= _HOURS:
        raise ArgumentTypeError(f"{written!r} are no hours a day; accepted: a number above 0, up to 24")
    return value
