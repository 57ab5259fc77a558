# SPDX-License-Identifier: Apache-2.0
"""``canferry receive``: the cloud's end. Subscribes, stores each batch once, acknowledges, names every gap."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import signal
import socket
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from argparse import Namespace, _SubParsersAction

    from agent.receiver.batch_receiver import Accepted, BatchReceiver
    from agent.receiver.receive_loop import ReceiveLoop
    from agent.uplink.options import MqttOptions

_TOPICS = ("canferry/{vehicle}/batch", "canferry/{vehicle}/catalog")
_GAP_LINES = 20
_LISTED_MAX, _LISTED_LENGTH = 10, 500
_WINDOW = 64
"""Messages that may wait for their acknowledgement: some are stored together while the next ones come."""
_SUFFIXES = {
    "duplicate": " (duplicate, dropped)",
    "reused": " (another content under a known id, kept beside the first)",
}
_EPILOG = """\
examples:
  canferry receive --broker mqtts://telemetry.example.com:8883 --out received
  canferry receive --broker mqtt://localhost:1883 --format jsonl | head
  canferry receive --broker mqtts://telemetry.example.com --out received --shared fleet --for 3600 --json

Batches go to OUT/<vehicle>/<stream>/<sequence>.batch.zst and may be moved away: OUT/.ledger.sqlite remembers them.
Another content that comes under the same id lies beside the first, as <sequence>-<hash>.batch.zst. One process at a
time receives into a folder. With --format each is written decoded beside its batch file, or, without --out, as lines on
stdout, where jsonl lines name their vehicle first; then nothing is kept, and what arrives while nobody listens is lost.
With --shared, other members of the group get their share: what they got is a gap here.
"""


def add_parser(subparsers: _SubParsersAction[ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "receive",
        help="the cloud's end: subscribe, drop duplicates, write batches, name every gap",
        description="Receives batches and catalogs from a broker, stores each once, then acknowledges it.",
        epilog=_EPILOG,
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("--broker", metavar="URL", required=True, help="mqtts://host[:port] or mqtt://host[:port]")
    parser.add_argument("--out", metavar="DIR", type=Path, help="where batches and catalogs go")
    parser.add_argument("--format", choices=("jsonl", "csv", "parquet", "mf4"), help="write them decoded as well")
    choices = "of jsonl and csv: names from value tables instead of their numbers (parquet and mf4 have both)"
    parser.add_argument("--choices", action="store_true", help=choices)
    parser.add_argument("--shared", metavar="GROUP", default="", help="share the topics with others of this group")
    parser.add_argument(
        "--topic",
        metavar="TOPIC",
        action="append",
        help="may be repeated; {vehicle} stands for any vehicle, {class} for critical, normal and bulk "
        f"(default: {' and '.join(_TOPICS)})",
    )
    parser.add_argument("--ca", metavar="FILE", type=Path, help="authorities to trust; default: the system's")
    parser.add_argument("--certificate", metavar="FILE", type=Path, help="the client's own")
    parser.add_argument("--key", metavar="FILE", type=Path, help="of the client's certificate")
    parser.add_argument("--username", metavar="NAME")
    parser.add_argument("--password-file", metavar="FILE", type=Path, help="its first line is the password")
    parser.add_argument("--client-id", metavar="ID", help="default: made from this host, --out and the topics")
    parser.add_argument("--for", dest="seconds", metavar="SECONDS", type=float, help="end after this time")
    parser.add_argument("--json", action="store_true", help="no line per batch, but the summary as one JSON object")
    parser.set_defaults(run=run)


def run(args: Namespace) -> int:
    """Receive until SIGINT, SIGTERM or the time is over."""
    from agent.errors import ConfigError
    from agent.receiver.folder import folder_lock
    from agent.receiver.receive_loop import check_topics
    from agent.receiver.writers import check_output

    if args.out is None and args.format != "jsonl":
        raise ConfigError("say where batches go: --out DIR; or --format jsonl for lines on stdout")
    if args.format is not None:
        check_output(args.format, args.out and Path(f"received.{args.format}"))
    topics = tuple(args.topic or _TOPICS)
    check_topics(topics)
    options = _options(args, topics)
    place = nullcontext(str(args.out)) if args.out else TemporaryDirectory(prefix="canferry-")
    with place as folder, folder_lock(Path(folder)):
        _receive(args, options, topics, Path(folder))
    return 0


def _receive(args: Namespace, options: MqttOptions, topics: tuple[str, ...], folder: Path) -> None:
    from agent.receiver.batch_receiver import BatchReceiver
    from agent.receiver.decoded import DecodedOutput
    from agent.receiver.receive_loop import ReceiveLoop

    lines = sys.stdout.buffer if args.out is None else None
    receiver = BatchReceiver(folder)
    decoded = None
    if args.format:
        decoded = DecodedOutput(args.format, choices=args.choices, lines=lines, handling=receiver.handling)
    totals = {"batches": 0, "frames": 0, "events": 0, "bytes": 0}

    def report(accepted: Accepted, size: int) -> None:
        totals["bytes"] += size
        if accepted.batch is not None:
            _count(accepted, totals)
            if not (args.json or lines):
                _print_batch(accepted, size)

    receiving = ReceiveLoop(receiver, topics, report, decoded)
    asyncio.run(_listen(args, options, topics, receiving))
    _print_summary(args, receiver, totals, receiving.waiting)


async def _listen(args: Namespace, options: MqttOptions, topics: tuple[str, ...], receiving: ReceiveLoop) -> None:
    from agent.receiver.receive_loop import filters
    from agent.uplink.mqtt_subscriber import MqttSubscriber

    expiry_s = 7 * 86_400 if args.out else 0
    subscriber = MqttSubscriber(
        options, filters(topics), shared_group=args.shared, session_expiry_s=expiry_s, window=_WINDOW
    )

    async def receive() -> None:
        async with subscriber:
            await receiving.run(subscriber)

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with asyncio.TaskGroup() as group:
        work = group.create_task(receive(), name="receive")
        try:
            async with asyncio.timeout(args.seconds):
                await stop.wait()
        except TimeoutError:
            pass
        work.cancel()


def _options(args: Namespace, topics: tuple[str, ...]) -> MqttOptions:
    from agent.errors import ConfigError
    from agent.uplink.credentials import read_password, tls_context
    from agent.uplink.options import MqttOptions, parse_broker

    host, port, tls = parse_broker(args.broker)
    for option in ("ca", "certificate", "key", "password_file"):
        path = getattr(args, option)
        if path is not None and not path.is_file():
            raise ConfigError(f"--{option.replace('_', '-')} {path}: no such file")
    options = MqttOptions(
        host=host,
        port=port,
        tls=tls,
        client_id=args.client_id or _client_id(args, topics),
        username=args.username,
        password_file=args.password_file,
        ca=args.ca,
        certificate=args.certificate,
        key=args.key,
    )
    try:
        if tls:
            tls_context(options)
        read_password(options)
    except ConfigError as error:  # it speaks of keys of a configuration
        raise ConfigError(re.sub(r"\bmqtt\.(\w+)", lambda key: f"--{key[1]}".replace("_", "-"), str(error))) from None
    return options


def _client_id(args: Namespace, topics: tuple[str, ...]) -> str:
    """The same at every start, so that the broker keeps what comes meanwhile; another one for every other folder."""
    place = str(args.out.absolute()) if args.out else f"process {os.getpid()}"
    name = "\n".join((socket.gethostname(), place, args.shared, *topics))
    return f"canferry-{hashlib.sha256(name.encode()).hexdigest()[:12]}"  # 3.1.1 promises no more than 23 characters


def _count(accepted: Accepted, totals: dict[str, int]) -> None:
    from agent.receiver.batch_receiver import Verdict

    if accepted.verdict in (Verdict.BATCH, Verdict.REUSED) and accepted.batch is not None:
        totals["batches"] += 1
        totals["frames"] += accepted.batch.frames
        totals["events"] += len(accepted.batch.events)


def _print_batch(accepted: Accepted, size: int) -> None:
    from agent.model import GapKind
    from agent.system.printable import printable

    batch = accepted.batch
    if batch is not None:
        suffix = _SUFFIXES.get(accepted.verdict.value, "")
        gaps = _listed([f"gap:{gap.kind}" for gap in batch.gaps if gap.kind != GapKind.ENDED])
        events = _listed([f"event:{each.kind}:{each.subject}" for each in batch.events])
        name = f"{printable(batch.id.vehicle)} {printable(batch.id.stream)} {batch.id.sequence}"
        print(f"{name}: {batch.frames} frames, {size} bytes{gaps}{events}{suffix}", flush=True)


def _listed(texts: list[str]) -> str:
    from agent.system.printable import printable

    listed = ""
    for number, text in enumerate(texts):
        if number == _LISTED_MAX or len(listed) > _LISTED_LENGTH:
            return f"{listed} and {len(texts) - number} more"
        listed += f" {printable(text)}"
    return listed


def _print_summary(args: Namespace, receiver: BatchReceiver, totals: dict[str, int], waiting: int) -> None:
    from agent.receiver.batch_receiver import Verdict

    gaps = receiver.report()
    out = sys.stdout if args.out else sys.stderr
    if args.json:
        summary: dict[str, Any] = {
            **totals,
            "duplicates_dropped": receiver.counts[Verdict.DUPLICATE],
            "ids_reused": receiver.counts[Verdict.REUSED],
            "catalogs": receiver.counts[Verdict.CATALOG],
            "rejected": receiver.counts[Verdict.REJECTED],
            "waiting_for_catalog": waiting,
            "gaps": [gap.as_dict() for gap in gaps],
        }
        print(json.dumps(summary), file=out)
        return
    for gap in gaps[:_GAP_LINES]:
        print(f"gap: {gap}", file=out)
    if len(gaps) > _GAP_LINES:
        print(f"gap: and {len(gaps) - _GAP_LINES} more; --json lists them all", file=out)
    reused = receiver.counts[Verdict.REUSED]
    print(
        f"{totals['batches']} batches, {totals['frames']} frames, {totals['events']} events, {totals['bytes']} bytes, "
        f"{receiver.counts[Verdict.DUPLICATE]} duplicates dropped, {receiver.counts[Verdict.REJECTED]} rejected, "
        f"{waiting} waiting for their catalog, {len(gaps)} gaps"
        + (f", {reused} of them under ids that others had: both are kept" if reused else ""),
        file=out,
    )
