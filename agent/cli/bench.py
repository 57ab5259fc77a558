# SPDX-License-Identifier: Apache-2.0
"""``canferry bench``: what this traffic costs on this unit."""

from __future__ import annotations

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.cli.arguments import J1939_ADVICE, add_j1939_argument
from agent.cli.recording import Recording
from agent.cli.stdout import json_text, print_message
from agent.errors import LogFileError

if TYPE_CHECKING:
    from argparse import Namespace, _SubParsersAction
    from collections.abc import Sequence

    from agent.config import Config
    from agent.model import MessageDefinition

_EPILOG = """\
example:
  canferry bench drive.log --dbc can0=car.dbc

Processor time and bytes for each frame that the DBC files know, ours beside the plain way (cantools for each frame,
JSON, gzip), medians of five passes over the same frames in one run; and what a second of this traffic costs.
"""


def add_parser(subparsers: _SubParsersAction[ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "bench",
        help="what a log's traffic costs on this unit, beside the plain way",
        description="Measures what the traffic of a recorded log costs on this unit.",
        epilog=_EPILOG,
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("log", metavar="LOG", type=Path)
    parser.add_argument(
        "--dbc", metavar="[BUS=]FILE", action="append", required=True, help="may be given several times"
    )
    parser.add_argument(
        "--bus", metavar="BUS", action="append", help="only this bus of the log; may be given several times"
    )
    add_j1939_argument(parser)
    parser.add_argument("--frames", metavar="N", type=int, default=100_000, help="of the log's beginning: %(default)s")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.set_defaults(run=run)


def run(args: Namespace) -> int:
    """Measure and print; LogFileError where there is nothing to measure."""
    from agent.cli import benchmark
    from agent.config import config_from_arguments
    from agent.decode.loading import load_buses
    from agent.sources.replay import log_channels
    from agent.system import process

    process.configure_allocator()  # as the daemon does: large arrays are not mapped anew each time
    found = log_channels(args.log)
    channels = [name for name in found if args.bus is None or name in args.bus]
    config = config_from_arguments(args.log, args.dbc, buses=channels, j1939=args.j1939)
    loaded = load_buses(config.buses)
    recording = Recording()
    results = benchmark.run(args.log, config, loaded.messages, max(1, args.frames), recording.blocks)
    results |= recording.counters()
    if not results["frames_decoded"]:
        buses = ", ".join(f"{name} ({frames:,} frames)" for name, frames in found.items()) or "none"
        hint = _group_hint(args, config, loaded.messages)
        text = f"no frame was decoded: {hint or 'is it the right DBC file for the right bus?'}. The log's buses: "
        raise LogFileError(f"{args.log}: {text.replace('?.', '?')}{buses}")
    print(json_text(results) if args.json else "\n".join(_table(results)))
    for path in results["cantools_refused"]:
        print_message(f"{path}: cantools does not load it; its messages are not in the plain way's results")
    recording.raise_damage()
    return 0


def _group_hint(args: Namespace, config: Config, messages: Sequence[MessageDefinition]) -> str:
    """Whether the log's frames would be decoded if they were matched by PGN."""
    from agent.decode.groups import GroupWatch
    from agent.sources.replay import read_log

    watch, frames = GroupWatch([bus.name for bus in config.buses]), 0
    with read_log(args.log, buses={bus.name: index for index, bus in enumerate(config.buses)}) as blocks:
        for block in watch.passing(blocks):
            frames += len(block)
            if frames >= args.frames:
                break
    return watch.hint(messages, J1939_ADVICE)


def _table(results: dict[str, Any]) -> list[str]:
    us, size, ratios = results["us_per_frame"], results["bytes_per_frame"], results["ratios"]
    return [
        (
            f"frames {results['frames']:,}, decoded {results['frames_decoded']:,}, "
            f"{results['signals_per_frame']:.1f} signals each; resident {results['rss_bytes'] / 2**20:.0f} MiB"
        ),
        "",
        f"{'':<34}{'canferry':>10}{'plain way':>12}{'times':>9}",
        _row("decode, µs/frame", us["decode"], us["cantools"], ratios["decode_vs_cantools"]),
        _row(
            "decode + collect + encode, µs/frame",
            us["decode_raw"] + us["collect"] + us["encode"],
            us["cantools"],
            ratios["pipeline_vs_cantools"],
        ),
        _row("bytes/frame, beside JSON", size["batch"], size["json"], ratios["bytes_vs_json"]),
        _row("bytes/frame, beside JSON + gzip", size["batch"], size["json_gzip"], ratios["bytes_vs_json_gzip"]),
        "",
        *_multiplexed(results["multiplexed"]),
        "µs/second   " + "  ".join(f"{name} {value:,.0f}" for name, value in results["us_per_second"].items()),
        "µs/frame    " + "  ".join(f"{name} {value:.3f}" for name, value in us.items()),
        "bytes/frame " + "  ".join(f"{name} {value:.3f}" for name, value in results["streams"].items()),
    ]


def _multiplexed(results: dict[str, Any] | None) -> list[str]:
    if results is None:
        return []
    frames, us, plain, ratio = (results[name] for name in ("frames", "us_per_frame", "us_per_plain_frame", "ratio"))
    alone = f"{frames:,} multiplexed frames alone: decode {us:.3f} µs/frame"
    return [f"{alone}, {ratio:.2f} times plain ones of as many signals ({plain:.3f})", ""]


def _row(name: str, ours: float, plain: float, times: float) -> str:
    return f"{name:<36}{ours:>8.3f}{plain:>12.2f}{times:>8.1f}x"
