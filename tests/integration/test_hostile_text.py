# SPDX-License-Identifier: Apache-2.0
"""Names and texts that would take over a terminal, from everywhere they can come: no command prints one as it is."""

from __future__ import annotations

import asyncio
import base64
import csv
import io
import json
import os
import re
import socket
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiomqtt
import msgspec
import numpy as np
import pytest

from agent.batch.catalog import Catalog, encode_catalog
from agent.batch.codec import Header, encode_batch
from agent.decode.decoder import Decoder
from agent.decode.plan import Plan
from agent.live.protocol import VERSION, Answer, BusDefinition, Definitions, Frames, encode
from agent.live.snapshot import LogLine
from agent.model import BatchId, Event, FrameBlock, Gap, MessageDefinition, SignalDefinition
from tests.support.mosquitto import running
from tests.support.scripted import ScriptedBroker
from tests.support.snapshots import snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

COMMAND = (sys.executable, "-P", "-m", "agent")
FROM_SOURCE = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
SECOND = 10**9
START = 1_700_000_000 * SECOND
HOSTILE = "\x1b[2J\x9b31m\r\nfaked: well\x07\x7f\u202egnp\u2028"
LONG = "x" * 4000
"""As long as a catalog's text may be."""
ENDLESS = "x" * (1 << 20)
FORBIDDEN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
SNEAKY = "\x9b31m\u202egnp\u2066"
"""What a DBC file may hold and still be one: with other control characters it is no text."""
DBC = f"""VERSION "{SNEAKY}"
BU_: X
BO_ 256 M: 8 X
 SG_ A : 0|8@1+ (1,0) [0|0] "{SNEAKY}" X
 SG_ B : 8|8@1+ (1,0) [0|0] "" X
 {SNEAKY} SG_ C : nothing of a signal
BO_ 257 N{"n" * 100_000}: 8 X
 SG_ A : 0|8@1+ (1,0) [0|0] "" X
VAL_ 256 A 1 "{SNEAKY}" 2 "=cmd|' /C calc'!A0" ;
CM_ BO_ 256 "{SNEAKY}";
"""
CONFIG = """
[vehicle]
id = "car-1"
[[bus]]
name = "car"
interface = "replay"
channel = "drive.log"
dbc = ["car.dbc"]
[[collect]]
signal = "*"
[spool]
path = "spool"
[agent]
socket = "/nowhere/s"
[mqtt]
broker = "mqtt://127.0.0.1:{port}"
"""


def names() -> Catalog:
    """What a batch's catalog may hold, whoever made it."""
    unit = SignalDefinition(HOSTILE, 0, 8, unit=HOSTILE, choices=((1, HOSTILE), (2, "=1+2")))
    long = SignalDefinition(LONG, 8, 8)
    return Catalog(("car", HOSTILE), (MessageDefinition("car", 0x100, HOSTILE, 8, (unit, long)),))


def block(time_ns: int = START) -> FrameBlock:
    data = np.array([[1, 2, 0, 0, 0, 0, 0, 0]] * 2, np.uint8)
    one = np.ones(2, np.uint8)
    times = np.array([time_ns, time_ns + SECOND])
    return FrameBlock(times, 0 * one, np.array([0x100] * 2, np.uint32), 8 * one, 0 * one, data)


TOLD = Gap("dropped", frames=7, detail=HOSTILE + LONG[:900])
HAPPENED = Event("triggered", START, HOSTILE, detail=HOSTILE)
FIRST = BatchId("car-1", "normal-1", 0)


def batch(
    batch_id: BatchId = FIRST,
    gaps: tuple[Gap, ...] = (TOLD,),
    events: tuple[Event, ...] = (HAPPENED,),
    opened_ns: int = START,
) -> bytes:
    catalog = names()
    signals = Decoder(Plan(catalog.buses, catalog.messages)).decode(block(opened_ns)).signals
    header = Header(batch_id, catalog.hash, 10**6, opened_ns, opened_ns + SECOND, 2, gaps=gaps, events=events)
    return encode_batch(header, signals, catalog.messages, 3)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "car.dbc").write_text(DBC)
    (tmp_path / "binary.dbc").write_text(DBC + HOSTILE)
    (tmp_path / "drive.log").write_text("(1700000000.000000) car 100#0102030405060708\n")
    (tmp_path / "hostile.log").write_text(f"(1700000000.000000) \x1b[2J\x9b31m\u202e{ENDLESS[:5000]} 100#01\n")
    (tmp_path / "agent.toml").write_text(CONFIG.format(port=1))
    keys = f'"\\u001b[2J\\u009b\\u202e{ENDLESS[:9000]}" = "\\u001b"\n'
    (tmp_path / "hostile.toml").write_text(CONFIG.format(port=1).replace("[agent]\n", f"[agent]\n{keys}"))
    received = tmp_path / "received/car-1/normal-1"
    received.mkdir(parents=True)
    (received / "000000000000.batch.zst").write_bytes(batch())
    (received / f"\x1b[2J{HOSTILE[:3]}.batch.zst").write_bytes(b"no batch")
    catalogs = tmp_path / "received/car-1/catalogs"
    catalogs.mkdir()
    (catalogs / f"{names().hash}.catalog.zst").write_bytes(encode_catalog(names()))
    return tmp_path


async def canferry(folder: Path, *arguments: str) -> tuple[str, str]:
    """What it prints; that is what people and terminals may see, and no line of it is too long to read."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *(*COMMAND, *arguments), cwd=folder, env=FROM_SOURCE, stdout=pipe, stderr=pipe
    )
    out, errors = (content.decode() for content in await process.communicate())
    assert process.returncode in (0, 1, 2), errors
    assert "Traceback" not in errors
    for text in (out, errors):
        assert FORBIDDEN.search(text) is None, repr(text[:2000])
        assert not any(line.startswith("faked") for line in text.splitlines())
    readable = "" if "--json" in arguments else errors if "--format" in arguments else out + errors
    assert max(map(len, readable.splitlines()), default=0) < 2_100
    return out, errors


COMMANDS = {
    "check of definitions": ("check", "--dbc", "car.dbc"),
    "check of what is no definition": ("check", "--dbc", "binary.dbc"),
    "check as JSON": ("check", "--dbc", "car.dbc", "--json"),
    "check of a configuration": ("check", "--config", "agent.toml", "--offline"),
    "check of a hostile configuration": ("check", "--config", "hostile.toml", "--offline"),
    "run of a hostile configuration": ("run", "--config", "hostile.toml"),
    "replay": ("replay", "drive.log", "--dbc", "car.dbc", "--out", "out"),
    "replay of a log that names its bus so": ("replay", "hostile.log", "--dbc", "car=car.dbc", "--out", "out"),
    "replay onto a bus": ("replay", "hostile.log", "--to", "nobody=vcan9"),
    "bench of a log that names its bus so": ("bench", "hostile.log", "--dbc", "car=car.dbc"),
    "report": ("report", "received", "--html", "page.html"),
    "export as JSON lines": ("export", "received", "--format", "jsonl", "--choices"),
    "export as CSV": ("export", "received", "--format", "csv", "--choices"),
    "export with a summary": ("export", "received", "--format", "jsonl", "--json"),
    "explain": ("explain", "M", "--config", "agent.toml"),
    "explain as JSON": ("explain", "M", "--config", "agent.toml", "--json"),
    "explain of a hostile name": ("explain", HOSTILE + ENDLESS[:5000], "--config", "agent.toml"),
    "a hostile command": (HOSTILE,),
    "a hostile option": ("check", "--" + HOSTILE),
    "a hostile file": ("check", "--dbc", HOSTILE),
}


@pytest.mark.parametrize("arguments", COMMANDS.values(), ids=COMMANDS)
async def test_hostile_text_reaches_no_terminal(folder: Path, arguments: tuple[str, ...]) -> None:
    out, errors = await canferry(folder, *arguments)
    assert out or errors
    if arguments[0] == "report":
        assert FORBIDDEN.search((folder / "page.html").read_text().partition("<script>")[0]) is None


async def test_json_lines_have_hostile_names_exactly(folder: Path) -> None:
    out, _ = await canferry(folder, "export", "received", "--format", "jsonl", "--choices")
    event, frame, _ = map(json.loads, out.splitlines())
    assert (event["subject"], event["detail"]) == (HOSTILE, HOSTILE)
    assert (frame["message"], frame["signals"]) == (HOSTILE, {HOSTILE: HOSTILE, LONG: 2})


async def test_csv_cells_are_escaped_and_start_no_formula(folder: Path) -> None:
    out, _ = await canferry(folder, "export", "received", "--format", "csv", "--choices")
    csv.field_size_limit(2 * len(LONG))
    _, first, second, *_ = csv.reader(io.StringIO(out))
    shown = r"\x1b[2J\x9b31m\r\nfaked: well\x07\x7f\u202egnp\u2028"
    assert first[3:7] == [shown, shown, shown, shown]
    assert second[4:6] == [LONG, "2"]


@contextmanager
def answering(path: Path, *answers: Answer) -> Iterator[None]:
    """An agent that gives every question the same answers."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(str(path))
        listening.listen()
        thread = threading.Thread(target=_answer, args=(listening, answers))
        thread.start()
        try:
            yield
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


def _answer(listening: socket.socket, answers: tuple[Answer, ...]) -> None:
    while True:
        try:
            connection, _ = listening.accept()
        except OSError:
            return
        with connection:
            status = b'"status"' in connection.recv(4096)
            for answer in answers:
                if status is (answer.snapshot is not None):
                    connection.sendall(encode(answer))


def hostile_agent() -> tuple[Answer, ...]:
    bus = BusDefinition(name="car", interface="socketcan", channel=HOSTILE, dbc=(HOSTILE,), keep_unknown=False)
    catalog = names()
    definitions = Definitions(
        vehicle=HOSTILE,
        buses=(bus, msgspec.structs.replace(bus, name=HOSTILE)),
        catalog=base64.b64encode(encode_catalog(catalog)).decode(),
    )
    said = LogLine(
        time_ns=START, level="error", event="batch_refused", about=HOSTILE, reason=HOSTILE + ENDLESS, hint=""
    )
    status = snapshot(
        vehicle=HOSTILE,
        bus_name=HOSTILE,
        bus_channel=HOSTILE,
        bus_state="down",
        link_connected=False,
        link_last_error=HOSTILE + ENDLESS,
        log_lines=(said,),
        network=(HOSTILE,),
    )
    rows = ((0, 0x100, 0, 1, START, "0102030405060708"),)
    return (
        Answer(version=VERSION, snapshot=status),
        Answer(version=VERSION, definitions=definitions),
        Answer(version=VERSION, frames=Frames(time_ns=START, rows=rows)),
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("status",),
        ("status", "--json"),
        ("tail", "--once"),
        ("tail", "--once", "--json"),
        ("explain", "0x100"),
        ("explain", "0x100", "--json"),
    ],
    ids=" ".join,
)
async def test_hostile_agent_reaches_no_terminal(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    with answering(tmp_path / "s", *hostile_agent()):
        out, _ = await canferry(tmp_path, *arguments, "--socket", "s")
    assert len(out) > 100
    if "--json" in arguments:
        assert HOSTILE in _texts([json.loads(line) for line in out.splitlines()])


def _texts(value: Any) -> set[str]:
    """All texts of a JSON document."""
    if isinstance(value, dict):
        return set().union(*({key} | _texts(each) for key, each in value.items()))
    if isinstance(value, list):
        return set().union(*map(_texts, value))
    return {value} if isinstance(value, str) else set()


async def test_hostile_agent_refuses_in_words(tmp_path: Path) -> None:
    with answering(tmp_path / "s", Answer(version=VERSION, error=HOSTILE + ENDLESS)):
        _, errors = await canferry(tmp_path, "tail", "--once", "--socket", "s")
    assert errors.startswith(r"canferry: the agent refuses: \x1b[2J")


async def test_hostile_reason_of_a_broker_reaches_no_terminal(folder: Path) -> None:
    words = HOSTILE.encode()
    properties = b"\x1f" + len(words).to_bytes(2, "big") + words
    refusal = b"\x20" + bytes([3 + len(properties), 0, 0x87, len(properties)]) + properties
    async with ScriptedBroker(connack=lambda level: refusal) as broker:
        (folder / "agent.toml").write_text(CONFIG.format(port=broker.port))
        _, errors = await canferry(folder, "check", "--config", "agent.toml")
        assert "not authorized" in errors
        await canferry(folder, "check", "--config", "agent.toml", "--json")
        await canferry(folder, "replay", "drive.log", "--dbc", "car.dbc", "--broker", f"mqtt://127.0.0.1:{broker.port}")


def hostile_payloads() -> list[bytes]:
    """Batches whose every name is hostile, some missing, one twice, one with another content; and what is no batch."""
    vehicle, stream = HOSTILE, "\u202e\x1b[2J=1+2"
    gaps = tuple(Gap(f"{HOSTILE}{number}{LONG[:200]}", START, START + SECOND, detail=HOSTILE) for number in range(15))
    events = tuple(Event(HOSTILE + LONG[:500], START, f"{HOSTILE}{number}{LONG[:500]}") for number in range(15))
    known = [batch(BatchId(vehicle, stream, number), gaps, events) for number in (0, 2, 2, 9)]
    other = batch(BatchId(vehicle, stream, 2), gaps, opened_ns=START + SECOND)
    nameless = [batch(BatchId(name, stream, 0)) for name in (LONG, HOSTILE * 20)]
    return [encode_catalog(names()), *known, other, *nameless, HOSTILE.encode()]


async def test_receive_escapes_hostile_names_and_bounds_its_lines(tmp_path: Path) -> None:
    variants = ((), ("--json",), ("--format", "csv"), ("--format", "jsonl", "--choices"))
    async with running(tmp_path / "broker") as broker, asyncio.TaskGroup() as group:
        place = ("--broker", broker.url(), "--topic", "batches", "--for", "12")
        outs = [("--out", f"out-{number}") for number in range(len(variants))]
        runs = [
            group.create_task(canferry(tmp_path, "receive", *place, *out, *variant))
            for out, variant in zip([*outs, ()], [*variants, variants[-1]], strict=True)
        ]
        while broker.log.count("Sending SUBACK") < len(runs):
            await asyncio.sleep(0.02)
        async with aiomqtt.Client(broker.host, broker.port) as client:
            for payload in hostile_payloads():
                await client.publish("batches", payload, qos=1)
    told = [run.result() for run in runs]

    assert told[0][0].count(r"\x1b[2J") > 10
    assert "4 batches" in told[0][0]
    assert told[0][1].count("payload_rejected") == 3
    assert json.loads(told[1][0])["rejected"] == 3
    assert json.loads(told[-1][0].splitlines()[0])["vehicle"] == HOSTILE
    for text in (*map(Path.read_text, tmp_path.rglob("*.csv")), *map(Path.read_text, tmp_path.rglob("*.jsonl"))):
        assert FORBIDDEN.search(text) is None
