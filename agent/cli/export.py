# SPDX-License-Identifier: Apache-2.0
"""``canferry export``: batch files or a spool folder to what engineers open."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path
from typing import TYPE_CHECKING

from agent.cli.stdout import json_text, print_message
from agent.system.printable import printable_line

if TYPE_CHECKING:
    from argparse import Namespace, _SubParsersAction

    from agent.receiver.export import ExportSummary

_GAP_LINES = 20
_CLOCK_LINES = 20
_EPILOG = """\
examples:
  canferry export received/car-0001 --format jsonl | head
  canferry export received/car-0001 --format parquet --out drive.parquet
  canferry export received/car-0001 --format parquet --layout wide --out drive
  canferry export received --format parquet --partition --out lake
  canferry export /var/lib/canferry --format mf4 --out drive.mf4

jsonl   one line a frame; extended: whether its id has 29 bits
        {"t": 1700000000.123, "bus": "can0", "id": 260, "extended": false, "message": "STEER",
         "signals": {"ANGLE": -1.5}}
csv     one line a signal value: time,bus,id,message,signal,value,unit,extended
parquet the same, with the raw field bits and the value table's text beside the value
        --layout wide: a file for each message, DIR/can0.STEER.parquet, one row a frame, one column a signal; units and
        value tables are metadata of the columns
        --partition: DIR/vehicle=…/day=YYYY-MM-DD/part-0.parquet (days in UTC), of all vehicles unless one is named;
        wide: DIR/can0.STEER/vehicle=…/day=…/part-0.parquet, a dataset for each message
mf4     ASAM MDF 4.10, one channel group per message, raw values with the DBC's scaling, unit and value table

Frames from when the vehicle's clock was wrong are moved to where they belong, if a batch of the same boot bears a
trusted clock. Such corrections, gaps and problems are told on stderr.
Exit status: 0; 1 where a batch could not be exported; 2 for wrong usage.
"""


def add_parser(subparsers: _SubParsersAction[ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "export",
        help="batch files or a spool folder to jsonl, csv, parquet or mf4",
        description="Writes the frames of batch files, folders of them, or a spool folder, in time order, each once.",
        epilog=_EPILOG,
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("paths", metavar="PATH", nargs="+", type=Path, help="a batch file, or a folder to search")
    parser.add_argument("--format", required=True, choices=("jsonl", "csv", "parquet", "mf4"), help="what to write")
    parser.add_argument(
        "--out", metavar="FILE", type=Path, help="default for jsonl and csv: stdout; a folder for several files"
    )
    parser.add_argument(
        "--layout", choices=("long", "wide"), default="long", help="of parquet: a row a value, or a row a frame"
    )
    parser.add_argument("--partition", action="store_true", help="of parquet: files by vehicle and day")
    parser.add_argument(
        "--acknowledged",
        action="store_true",
        help="of a spool: also what is acknowledged, as far as it is not overwritten yet; else only what waits",
    )
    parser.add_argument("--vehicle", metavar="ID", help="of which vehicle, where there are several")
    choices = "of jsonl and csv: names from value tables instead of their numbers (parquet and mf4 have both)"
    parser.add_argument("--choices", action="store_true", help=choices)
    parser.add_argument(
        "--json",
        action="store_true",
        help="the summary as one JSON object, on stdout where --out is given, else on stderr",
    )
    parser.set_defaults(run=run)


def run(args: Namespace) -> int:
    """Export; 1 where something could not be."""
    from agent.receiver.export import export
    from agent.receiver.inventory import Inventory
    from agent.receiver.writers import Arrangement, check_output

    arrangement = Arrangement(wide=args.layout == "wide", partition=args.partition)
    check_output(args.format, args.out, arrangement)
    summary = export(
        Inventory(args.paths, acknowledged=args.acknowledged),
        args.format,
        args.out,
        vehicle=args.vehicle,
        choices=args.choices,
        arrangement=arrangement,
    )
    if args.json:
        print(json_text(summary.as_dict()), file=sys.stderr if args.out is None else sys.stdout)
    else:
        _print_summary(summary)
    return 1 if summary.problems else 0


def _print_summary(summary: ExportSummary) -> None:
    for problem in summary.problems:
        print_message(str(problem))
    for correction in summary.corrections[:_CLOCK_LINES]:
        print(f"clock: {printable_line(str(correction))}", file=sys.stderr)
    if len(summary.corrections) > _CLOCK_LINES:
        print(f"clock: and {len(summary.corrections) - _CLOCK_LINES} more boots; --json lists all", file=sys.stderr)
    for gap in summary.gaps[:_GAP_LINES]:
        print(f"gap: {printable_line(str(gap))}", file=sys.stderr)
    if len(summary.gaps) > _GAP_LINES:
        print(f"gap: and {len(summary.gaps) - _GAP_LINES} more; --json lists them all", file=sys.stderr)
    unknown = f", {summary.unknown} of unknown ids not kept" if summary.unknown else ""
    events = f", {summary.events} events" if summary.events else ""
    left_out = f", {summary.left_out} acknowledged left out" if summary.left_out else ""
    reused = f" ({summary.reused} under ids that others have)" if summary.reused else ""
    batches = f"{summary.batches} batches{reused}"
    print(
        f"{printable_line(summary.vehicle)}: {summary.frames} frames{unknown}{events}, {batches}, "
        f"{summary.duplicates} duplicates dropped, {len(summary.gaps)} gaps{left_out}",
        file=sys.stderr,
    )
