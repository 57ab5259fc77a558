# SPDX-License-Identifier: Apache-2.0
"""One hash of each thing that a change of the code leaves as it is; run it before and after.

    python tests/benchmarks/baselines.py [PART …] [--each] [--tree FOLDER]

    definitions   the definitions and the problems of every DBC file at hand (opendbc's, ../shared/data's and the
                  project's own), as `repr` says them; of a file that is refused, why
    batches       the bytes of all batch and catalog files that `replay` makes of the four recordings
    events        the events in these batches
    kept          the samples in them, as `export` writes them
    exports       the bytes of each format and layout that `export` writes
    spool         the bytes of each file of a spool folder that `replay` fills and whose broker acknowledges nothing

Each recording is replayed under three configurations: everything kept; fifty rules and twenty triggers (for the RAV4
the benchmark's own, `collect.py`; for the others of the same kinds, about the signals that the recording holds); and
triggers that fire often, beside a few rules.

All but the definitions comes from `canferry` as a process of its own, in which the wall clock and the time since boot
stand still and random bytes are all alike: what depends on the code alone is left. Two hashes that differ mean that
something of it does not: `--each` prints a hash for each thing that went in, so that `diff` of two outputs names it.
Folders are left out of what is hashed: the same files give the same hash wherever they lie.

`--tree` takes the code of another checkout, for a comparison with an earlier commit:

    git worktree add /tmp/before COMMIT; python tests/benchmarks/baselines.py --tree /tmp/before
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import hashlib
import importlib.metadata
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PROJECT = Path(__file__).parents[2]
DATA = PROJECT.parent / "shared" / "data"
RECORDINGS: dict[str, dict[str, str]] = {
    "rav4_highway": {"can0": "rav4_powertrain.dbc", "can1": "rav4_radar.dbc"},
    "mustang_drive": {"can0": "mustang.dbc"},
    "obd2_gnss_drive": {"can1": "obd2.dbc", "can2": "gnss.dbc"},
    "j1939_truck": {"can1": "j1939_demo.dbc", "can9": "canedge_internal.dbc"},
}
"""Each recording's buses, with their DBC files."""
J1939 = {"j1939_demo.dbc"}
CONFIGURATIONS = ("everything", "fifty rules", "firing")
FORMATS = {
    "jsonl": ("--format", "jsonl"),
    "jsonl-choices": ("--format", "jsonl", "--choices"),
    "csv": ("--format", "csv"),
    "parquet": ("--format", "parquet"),
    "parquet-wide": ("--format", "parquet", "--layout", "wide"),
    "parquet-partition": ("--format", "parquet", "--partition"),
    "mf4": ("--format", "mf4"),
}

STILL = """
import os, time
os.urandom = lambda size: bytes([0x5A]) * size
time.time, time.time_ns = (lambda: 1.8e9), (lambda: 1_800_000_000 * 10**9)
time.clock_gettime_ns = lambda clock: 1_000 * 10**9
"""
"""Before anything else is imported: the same moment and the same random bytes, always."""
FAST = f"""
import selectors, tempfile
fast, monotonic, select = {(FASTER := 10)}, time.monotonic, selectors.EpollSelector.select
time.monotonic = lambda: monotonic() * fast
selectors.EpollSelector.select = lambda self, timeout=None: select(self, timeout and timeout / fast)
tempfile.TemporaryDirectory._rmtree = classmethod(lambda *_, **__: None)
"""
"""Timeouts end sooner, and temporary folders stay."""
RUN = "\nimport runpy; runpy.run_module('agent', run_name='__main__', alter_sys=True)\n"

SPOOL = "[spool]\nlimit = '64MiB'\nsegment = '256KiB'\n"

tree = PROJECT


def canferry(*arguments: str | Path, prologue: str = STILL, temporary: Path | None = None) -> str:
    """What a command wrote to stdout; its environment is the same each time."""
    environment = {"PATH": os.environ["PATH"], "PYTHONHASHSEED": "0", "TZ": "UTC", "LC_ALL": "C.UTF-8"}
    environment["TMPDIR"] = str(temporary or tempfile.gettempdir())
    command = [sys.executable, "-c", prologue + RUN, *map(str, arguments)]
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
    if done.returncode and temporary is None:
        sys.exit(f"canferry {' '.join(map(str, arguments))}: exit status {done.returncode}: {done.stderr}")
    return done.stdout


def dbc_files(scratch: Path) -> Iterator[tuple[str, Path]]:
    """A name and the path of every DBC file at hand."""
    from tests.support.car_dbc import car_dbc

    for packaged in importlib.metadata.files("opendbc") or ():
        if packaged.name.lower().endswith(".dbc"):
            yield f"opendbc/{packaged.name}", Path(str(packaged.locate()))
    for name, folder in (("data", DATA), ("project", PROJECT / "dbc")):
        for path in folder.rglob("*.dbc"):
            yield f"{name}/{path.relative_to(folder)}", path
    yield "tests/car.dbc", car_dbc(scratch)


def definitions(scratch: Path) -> Iterator[tuple[str, str]]:
    """Each DBC file with what it became."""
    from agent.decode.loading import load_databases
    from agent.errors import DatabaseError

    for name, path in sorted(dbc_files(scratch)):
        try:
            loaded = load_databases([("bus", path)])
        except DatabaseError as error:
            yield name, str(error).replace(str(path), name)
            continue
        yield name, repr((loaded.messages, loaded.problems)).replace(str(path), name)


def batches(scratch: Path) -> Iterator[tuple[str, bytes]]:
    """Each file that `replay` has made."""
    for name, folder in replayed(scratch):
        yield from ((path, content) for path, content in files(name, folder) if path.endswith(".zst"))


def events(scratch: Path) -> Iterator[tuple[str, str]]:
    """The events of each configuration's batches, in the streams' order."""
    import zstandard

    from agent.batch.batch_pb2 import Batch

    for name, folder in replayed(scratch):
        found = []
        for path in sorted(folder.rglob("*.batch.zst")):
            batch = Batch.FromString(zstandard.ZstdDecompressor().decompressobj().decompress(path.read_bytes()))
            found += [str(event) for event in batch.events]
        yield f"{name}: {len(found)} events", "\n".join(found)


def kept(scratch: Path) -> Iterator[tuple[str, str]]:
    """The samples of each configuration's batches, in time order."""
    for name, folder in replayed(scratch):
        lines = canferry("export", folder, "--format", "jsonl")
        yield f"{name}: {lines.count(chr(10))} frames", lines


def exports(scratch: Path) -> Iterator[tuple[str, bytes]]:
    """Each file that `export` writes of what fifty rules have kept."""
    for name, folder in replayed(scratch, "fifty rules"):
        for form, arguments in FORMATS.items():
            out = scratch / "exports" / name / form
            out.mkdir(parents=True)
            canferry("export", folder, *arguments, "--out", out / f"out.{arguments[1]}")
            yield from files(f"{name}/{form}", out)


def spool(scratch: Path) -> Iterator[tuple[str, bytes]]:
    """Each file of a spool that holds a recording."""
    for recording in ("rav4_highway", "j1939_truck"):
        temporary = scratch / "spool" / recording
        temporary.mkdir(parents=True)
        config = temporary / "agent.toml"
        config.write_text(configuration(scratch, recording, "fifty rules") + SPOOL)
        with silent_broker() as port:
            log, broker = DATA / f"{recording}.log.xz", f"mqtt://127.0.0.1:{port}"
            arguments = ("replay", log, "--config", config, "--broker", broker, "--json")
            canferry(*arguments, prologue=STILL + FAST, temporary=temporary)
        (folder,) = temporary.glob("canferry-replay-*")
        for name, content in files(recording, folder):
            if not name.endswith("/brokers"):  # names the port
                yield name, content


PARTS: dict[str, Callable[[Path], Iterator[tuple[str, str]] | Iterator[tuple[str, bytes]]]] = {
    "definitions": definitions,
    "batches": batches,
    "events": events,
    "kept": kept,
    "exports": exports,
    "spool": spool,
}


def replayed(scratch: Path, *configurations: str) -> Iterator[tuple[str, Path]]:
    """The folder of batches of each recording under each configuration, or under those that are named."""
    for recording in RECORDINGS:
        for kind in configurations or CONFIGURATIONS:
            yield f"{recording}/{kind}", replay(scratch, recording, kind)


@functools.cache
def replay(scratch: Path, recording: str, kind: str) -> Path:
    """Replay a recording, once."""
    out = scratch / "batches" / recording / kind
    out.parent.mkdir(parents=True, exist_ok=True)
    config = out.with_suffix(".toml")
    config.write_text(configuration(scratch, recording, kind))
    canferry("replay", DATA / f"{recording}.log.xz", "--config", config, "--out", out, "--json")
    return out


def configuration(scratch: Path, recording: str, kind: str) -> str:
    """A configuration file: the recording's buses, and what of them is kept."""
    if (recording, kind) == ("rav4_highway", "fifty rules"):
        return Path(__file__).with_name("rav4.toml").read_text().replace("../../../shared/data", str(DATA))
    lines = ["[vehicle]", 'id = "baseline"', "[mqtt]", 'broker = "mqtt://localhost"']
    for bus, dbc in RECORDINGS[recording].items():
        lines += ["[[bus]]", f'name = "{bus}"', 'interface = "socketcan"', f'channel = "{bus}"']
        lines += [f'dbc = ["{DATA / dbc}"]', f"j1939 = {str(dbc in J1939).lower()}"]
    if kind != "everything":
        signals = seen(scratch, recording)
        lines += ["[[collect]]", 'every = "10s"', 'priority = "bulk"', 'ttl = "48h"']
        lines += rules(signals, 49 if kind == "fifty rules" else 9)
        lines += triggers(signals, 20, busy=kind == "firing")
    return "\n".join(lines) + "\n"


@functools.cache
def seen(scratch: Path, recording: str) -> dict[tuple[str, str], list[float]]:
    """Every 7th value of each signal that a recording holds, in order of size, by message and signal."""
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    text = canferry("export", replay(scratch, recording, "everything"), "--format", "jsonl")
    for line in text.splitlines()[::7]:
        row = json.loads(line)
        for signal, value in row["signals"].items():
            if isinstance(value, int | float):
                found[f"{row['bus']}.{row['message']}", signal].append(value)
    return {key: sorted(found[key]) for key in sorted(found)}


RULES = (
    'every = "500ms"',
    'every = "500ms"\nvalue = "first"',
    'every = "1s"\nvalue = "min"',
    'every = "1s"\nvalue = "max"',
    'every = "2s"\nvalue = "mean"',
    "on_change = true\ndeadband = 0.5",
    'on_change = true\nstale_after = "2s"',
    'every = "1s"\non_change = true\npriority = "bulk"',
    "keep = false",
)
"""One after the other, each about another signal."""
CONDITIONS = (
    "{signal} >= {high}",
    "rising({signal} >= {middle})",
    "changed({signal})",
    "mean({signal} over 5s) >= {high} or {other} <= {other_low}",
    "max({signal} over 2s) >= {high} and not {other} >= {other_high}",
    "min({signal} over 1s) <= {low}",
    "count({message} over 1s) < {count}",
    "abs({signal} - {other}) >= {high}",
)
"""Likewise."""


def rules(signals: dict[tuple[str, str], list[float]], number: int) -> list[str]:
    """So many rules, spread over the signals."""
    names = list(signals)
    chosen = [names[index * len(names) // number] for index in range(number)]
    made = []
    for index, (message, signal) in enumerate(chosen):
        made += ["[[collect]]", f'signal = "{message}.{signal}"', RULES[index % len(RULES)]]
    return made


def triggers(signals: dict[tuple[str, str], list[float]], number: int, *, busy: bool) -> list[str]:
    """So many triggers, on signals that change, which fire seldom or often."""
    moving = [(message, signal, values) for (message, signal), values in signals.items() if values[0] < values[-1]]
    made = []
    for index in range(number):
        message, signal, values = moving[index * len(moving) // number]
        other_message, other, other_values = moving[(index * len(moving) // number + 7) % len(moving)]
        margin = len(values) // (3 if busy else 50)
        condition = CONDITIONS[index % len(CONDITIONS)].format(
            message=message,
            signal=f"{message}.{signal}",
            other=f"{other_message}.{other}",
            low=values[margin],
            middle=values[len(values) // 2],
            high=values[-1 - margin],
            other_low=other_values[0],
            other_high=other_values[-1],
            count=20 if busy else 2,
        )
        made += ["[[trigger]]", f'name = "event{index}"', f'when = "{condition}"']
        made += [f'at_most_every = "{5 if busy else 30}s"', 'before = "3s"', 'after = "1s"']
        made += [f'priority = "{("critical", "normal", "bulk")[index // 7]}"']
        made += [f'record = ["{message}.{signal}", "*.{message.partition(".")[2]}.*"]'] if index % 2 else []
    return made


def files(name: str, folder: Path) -> Iterator[tuple[str, bytes]]:
    """Each file below a folder."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield f"{name}/{path.relative_to(folder)}", path.read_bytes()


@contextlib.contextmanager
def silent_broker() -> Iterator[int]:
    """A broker that lets everybody connect, and acknowledges nothing that is published: its port."""

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()

    def answer(link: socket.socket) -> None:
        with contextlib.suppress(OSError), link:
            packet = link.recv(1 << 16)
            five = packet[packet.index(b"MQTT") + 4 : packet.index(b"MQTT") + 5] == b"\5"
            link.sendall(b"\x20\x03\0\0\0" if five else b"\x20\x02\0\0")
            while packet := link.recv(1 << 16):
                if packet.endswith(b"\xc0\0"):
                    link.sendall(b"\xd0\0")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]


def _short(content: str | bytes) -> str:
    raw = content.encode(errors="surrogateescape") if isinstance(content, str) else content
    return hashlib.sha256(raw).hexdigest()[:16]


def main() -> None:
    """Print the hashes."""
    global tree
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="*", help=f"of {', '.join(PARTS)}; all where none is named")
    parser.add_argument("--each", action="store_true", help="a hash of each thing, too")
    parser.add_argument("--tree", type=Path, default=PROJECT, help="the checkout whose code is meant")
    args = parser.parse_args()
    tree = args.tree.resolve()
    sys.path.insert(0, str(tree))
    with tempfile.TemporaryDirectory() as scratch:
        for part in args.part or PARTS:
            all_of_it = []
            for name, content in PARTS[part](Path(scratch)):
                all_of_it.append(f"{name} {_short(content)}")
                if args.each:
                    print(f"  {_short(content)}  {name}", flush=True)
            print(f"{_short(' '.join(all_of_it))}  {part}: {len(all_of_it)} things", flush=True)


if __name__ == "__main__":
    main()
