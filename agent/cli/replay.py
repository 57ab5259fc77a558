# SPDX-License-Identifier: Apache-2.0
"""``canferry replay``: a recorded log through the real pipeline, or onto a bus."""

from __future__ import annotations

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path
from typing import TYPE_CHECKING

from agent.cli.arguments import J1939_ADVICE, add_j1939_argument
from agent.cli.playing import add_bus_arguments, play_onto, speed
from agent.cli.recording import Progress, Recording
from agent.cli.stdout import json_text, print_message
from agent.errors import ConfigError

if TYPE_CHECKING:
    from argparse import Namespace, _SubParsersAction
    from collections.abc import Mapping

    from agent.config import Config
    from agent.pipeline.packer import PackerCounters

_EPILOG = """\
examples:
  canferry replay drive.log --dbc car.dbc --out batches
  canferry replay drive.log --dbc can0=powertrain.dbc --dbc can1=radar.dbc --broker mqtt://localhost --speed 1
  canferry replay drive.blf --config agent.toml --out batches
  canferry replay drive.log --to vcan0
  canferry replay drive.log --to can0=vcan0 --to can1=vcan1 --speed 2

Logs: candump's, also what candump -t prints, .asc, .blf, .trc, .csv, .mf4, also compressed (.gz .bz2 .xz .zst). With
--config, the buses are those of the configuration, found in the log by their channel, else by their name; the only bus
of a log is the only one of a configuration. Vehicle, batches and broker are the configuration's; the vehicle's own
agent may go on meanwhile. Times stay the log's own. --out takes a folder that holds no batches yet and is no spool.
With --to nothing is decoded: the log's frames are sent on a bus, at their own pace, for an agent that listens there.
"""


def add_parser(subparsers: _SubParsersAction[ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "replay",
        help="a recorded log through the real pipeline, into files or to a broker; or onto a bus",
        description="Decodes a recorded log into batches, as the daemon does with a live bus; or plays it onto a bus.",
        epilog=_EPILOG,
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("log", metavar="LOG", type=Path)
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--config", metavar="FILE", type=Path, help="buses, vehicle and batches as configured")
    source.add_argument("--dbc", metavar="[BUS=]FILE", action="append", help="may be given several times")
    end = parser.add_mutually_exclusive_group(required=True)
    end.add_argument("--out", metavar="DIR", type=Path, help="batch files and their catalog")
    end.add_argument("--broker", metavar="URL", help="mqtt://host[:port] or mqtts://host[:port]")
    end.add_argument("--to", metavar="[BUS=]CHANNEL", action="append", help="a virtual bus, such as vcan0")
    add_j1939_argument(parser)
    add_bus_arguments(parser)
    parser.add_argument(
        "--speed",
        metavar="X",
        type=speed,
        help="X times real time, but for pauses of more than an hour and what a clock was set by; "
        "if not given as fast as it goes, with --to 1",
    )
    parser.add_argument("--vehicle", metavar="ID", help='default: the configuration\'s, or "replay"')
    parser.add_argument("--json", action="store_true", help="the summary as one JSON object")
    parser.set_defaults(run=run)


def run(args: Namespace) -> int:
    """Replay, and print the counters."""
    if args.to is not None:
        return _play(args)
    if args.config is not None and args.j1939 is not None:
        raise ConfigError("--j1939 is for the files of --dbc; in a configuration each [[bus]] says it by its key j1939")
    if args.config is None and args.dbc is None:
        raise ConfigError("replay needs --config or --dbc to know the log's frames; with --to neither")
    import asyncio

    from agent.cli.preflight import check_credentials, check_endpoint, refuse
    from agent.daemon import replay
    from agent.decode.groups import GroupWatch
    from agent.decode.loading import load_buses
    from agent.sources.replay import read_log

    config, buses = _configured(args)
    recording = Recording()
    with read_log(args.log, buses=buses) as blocks, Progress() as progress:
        watch = GroupWatch([bus.name for bus in config.buses])
        watched = watch.passing(progress.frames(recording.blocks(blocks), args.log.name))
        if args.out is not None:
            packer = replay.replay_into(config, watched, args.out, speed=args.speed)
        else:
            if args.config is not None:
                refuse(config, check_endpoint(config))
                refuse(config, check_credentials(config))
            packer = asyncio.run(replay.replay(config, watched, speed=args.speed))
    left_out = recording.counters()
    _print(packer.counters, left_out, as_json=args.json)
    hint = watch.hint(load_buses(config.buses).messages, J1939_ADVICE) if packer.counters.frames_unknown else ""
    _print_hint(hint)
    if (packer.counters.frames or left_out["frames_ignored"]) and not packer.counters.frames_decoded and not hint:
        _print_hint(f"no frame of {', '.join(buses)} was decoded: is it the right DBC file for the right bus?")
    recording.raise_damage()
    return 0


def _play(args: Namespace) -> int:
    """Onto buses instead of through the pipeline."""
    if args.config is not None or args.dbc is not None or args.j1939 is not None:
        what = "accepted: no --config, no --dbc and no --j1939 beside it"
        raise ConfigError(f"--to plays the log's frames as they are; {what}")
    from agent.sources.replay import log_channels, read_log

    channels = list(log_channels(args.log))
    targets: dict[str, str] = {}
    for target in args.to:
        bus, _, channel = target.rpartition("=")
        if bus and bus not in channels:
            raise ConfigError(f"--to {target}: {args.log} has no bus {bus!r}; accepted: {', '.join(channels)}")
        if not bus and len(args.to) > 1:
            raise ConfigError(f"--to {target}: of several, each says which bus it is; accepted: BUS={channel}")
        targets |= {bus: channel} if bus else dict.fromkeys(channels, channel)
    indexes = {name: index for index, name in enumerate(targets)}
    with read_log(args.log, buses=indexes) as blocks:
        return play_onto(args, blocks, dict(enumerate(targets.values())), speed=args.speed or 1.0)


def _configured(args: Namespace) -> tuple[Config, dict[str, int]]:
    """The configuration, and which bus each of the log's channels is."""
    from agent.config import config_from_arguments, load_config, parse_dbc_arguments, with_arguments
    from agent.sources.logs.channels import missing
    from agent.sources.replay import log_channels

    channels = log_channels(args.log)
    if args.config is None:
        _print_hint(missing(args.log, channels, parse_dbc_arguments(args.dbc), "--dbc"))
        config = config_from_arguments(
            args.log,
            args.dbc,
            buses=list(channels),
            broker=args.broker,
            vehicle=args.vehicle or "replay",
            j1939=args.j1939,
        )
        return config, {bus.name: index for index, bus in enumerate(config.buses)}
    config = with_arguments(load_config(args.config), vehicle=args.vehicle, broker=args.broker)
    if args.broker is not None:
        config = _beside_the_agent(config)
    return config, _buses_in(args.log, channels, config, args.config)


def _buses_in(log: Path, channels: Mapping[str, int], config: Config, file: Path) -> dict[str, int]:
    """Which of the configuration's buses each of the log's channels is."""
    from agent.sources.logs.channels import missing

    asked = {bus.name: index for index, bus in enumerate(config.buses)}
    for index, bus in enumerate(config.buses):
        if bus.interface != "replay":
            asked[str(bus.channel)] = index
        elif "channel" in bus.options:
            asked[str(bus.options["channel"])] = index
    found = {name: index for name, index in asked.items() if name in channels}
    named = [name for name, frames in channels.items() if frames]
    if len(named) == len(config.buses) == 1 and not found:
        _print_hint(f"{log}: its only bus, {named[0]}, is taken for {config.buses[0].name}")
        return {named[0]: 0}
    if not found:
        missing(log, channels, asked, str(file))
    return found


def _print_hint(text: str) -> None:
    if text:
        print_message(text)


def _beside_the_agent(config: Config) -> Config:
    """The same, under a name at which the vehicle's own agent is not disconnected, and silent about how it is.

    Raises ConfigError where the endpoint takes this vehicle under no other name, and its agent runs here.
    """
    import msgspec

    mqtt = config.mqtt
    assert mqtt is not None
    name = mqtt.client_id or config.vehicle.id
    if mqtt.profile == "generic":
        name = f"{name}-replay"
    elif _answers(config.agent.socket):
        text = f"{mqtt.profile} takes one connection by the name {name}, and the agent that has it runs here"
        raise config.refusal("mqtt.client_id", f"{text}: stop it first, or replay as another --vehicle")
    return msgspec.structs.replace(config, mqtt=msgspec.structs.replace(mqtt, client_id=name, topic_status=""))


def _answers(path: str) -> bool:
    """Whether somebody listens at a UNIX socket."""
    import socket

    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.connect(path)
    except OSError:
        return False
    return True


def _print(counters: PackerCounters, left_out: dict[str, int], *, as_json: bool) -> None:
    summary = counters.as_dict() | left_out
    if as_json:
        print(json_text(summary))
        return
    by_priority = summary.pop("priorities", {})
    for key, value in summary.items():
        print(f"{key.replace('_', ' '):<16}{value:>14,}")
    for name, counted in by_priority.items():
        print(f"{f'{name} batches':<16}{counted['batches']:>14,}")
    if counters.frames_decoded:
        print(f"{'bytes per frame':<16}{counters.batch_bytes / counters.frames_decoded:>14.3f}")
