# SPDX-License-Identifier: Apache-2.0
"""The engineer's commands against a running agent: real processes, a simulated car, and a recorded log beside it."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.integration.test_uplink import receive, subscriber
from tests.support.commands import on_terminal, running_command
from tests.support.mosquitto import running
from tests.support.processes import VEHICLE, Agent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.mosquitto import Mosquitto

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
DBC = """BO_ 256 NOT_OF_THIS_CAR: 8 ECU
 SG_ Speed : 0|16@1+ (0.1,0) [0|0] "km/h" ECU
BO_ 2566844672 CCVS: 8 ECU
 SG_ mode : 0|8@1+ (1,0) [0|0] "" ECU
"""
CONFIG = f"""
[vehicle]
id = "{VEHICLE}"
[[bus]]
name = "car"
interface = "simulator"
[[bus]]
name = "body"
interface = "replay"
channel = "drive.log"
dbc = ["other.dbc"]
options = {{ channel = "can7" }}
[batch]
interval = "500ms"
[spool]
path = "spool"
min_free = "0B"
journal_interval = "100ms"
[mqtt]
broker = "BROKER"
no_subscribers = "accept"
backoff_base = "50ms"
backoff_max = "100ms"
[agent]
socket = "SOCKET"
[log]
level = "LEVEL"
format = "json"
"""


class Bench:
    """A running agent, its broker, and what a command says of them."""

    def __init__(self, folder: Path, agent: Agent, broker: Mosquitto) -> None:
        self.folder, self.agent, self.broker = folder, agent, broker

    async def command(self, *arguments: str) -> tuple[int, str, str]:
        """A command's exit status, stdout and stderr."""
        async with running_command(*arguments, "--config", str(self.agent.config)) as process:
            out, err = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode(), err.decode()

    async def status(self) -> tuple[int, Any]:
        """Exit status and what it prints as JSON."""
        code, out, err = await self.command("status", "--json")
        assert out, err
        return code, json.loads(out)

    async def status_has(self, *codes: str) -> tuple[int, Any]:
        """The first status with these findings among its own."""
        while True:
            code, told = await self.status()
            if set(codes) <= {finding["code"] for finding in told["findings"]}:
                return code, told


@asynccontextmanager
async def bench(folder: Path, more: str = "", level: str = "debug") -> AsyncIterator[Bench]:
    lines = (f"({1_700_000_000 + n / 100:.6f}) can7 {0x7E0 + n % 4:X}#0102030405\n" for n in range(60_000))
    (folder / "drive.log").write_text("".join(lines))
    (folder / "other.dbc").write_text(DBC)
    async with running(folder / "broker") as broker:
        config = CONFIG.replace("BROKER", broker.url()).replace("SOCKET", str(folder / "agent.sock"))
        config = config.replace("LEVEL", level)
        agent = Agent(folder, config + more)
        try:
            await agent.start()
            await agent.said("link_up")
            yield Bench(folder, agent, broker)
        finally:
            await agent.close()


async def test_status_tells_figures_and_causes(tmp_path: Path) -> None:
    async with bench(tmp_path) as live:
        code, told = await live.status_has("dbc_wrong")
        (wrong,) = (finding for finding in told["findings"] if finding["code"] == "dbc_wrong")
        assert (code, wrong["level"], wrong["about"]) == (1, "error", "body")
        car, body = told["snapshot"]["buses"]
        assert (car["state"], car["known"], car["unknown_ids"]) == ("up", car["frames"], 0)
        assert (body["state"], body["known"], body["unknown_ids"], body["messages"]) == ("up", 0, 4, 2)
        assert told["snapshot"]["link"]["connected"]
        assert told["snapshot"]["spool"]["priorities"][0]["samples"] > 0
        code, screen, _ = await live.command("status")
        assert code == 1
        assert "error dbc_wrong (body)" in screen
        await live.broker.stop()
        code, told = await live.status_has("broker_unreachable")
        assert not told["snapshot"]["link"]["connected"]
        assert "link_refused" in {line["event"] for line in told["snapshot"]["log_lines"]}


async def test_the_cloud_is_told_how_it_goes(tmp_path: Path) -> None:
    async with running(tmp_path / "broker") as broker, subscriber(broker.port, f"canferry/{VEHICLE}/status") as cloud:
        config = (
            CONFIG.replace('"BROKER"', f'"{broker.url()}"\nheartbeat = "1s"')
            .replace("SOCKET", "")
            .replace("LEVEL", "info")
        )
        (tmp_path / "drive.log").write_text("(1.0) can7 7E0#00\n")
        (tmp_path / "other.dbc").write_text(DBC)
        agent = Agent(tmp_path, config)
        try:
            await agent.start()
            told: dict[str, Any] = {}
            while not told.get("acknowledged"):
                (payload,) = await receive(cloud, 1)
                told = json.loads(payload)
            assert (told["v"], told["online"]) == (1, True)
            assert told["frames"] > 0
            assert told["stream"].startswith("normal-")
        finally:
            await agent.close()
        while told["online"]:
            (payload,) = await receive(cloud, 1)
            told = json.loads(payload)


async def test_tail_tells_the_values_that_the_agent_hears(tmp_path: Path) -> None:
    async with bench(tmp_path) as live:
        await live.status_has("dbc_wrong")
        code, out, _ = await live.command("tail", "--once", "--json")
        assert code == 0
        told = {(line["bus"], line["id"]): line for line in map(json.loads, out.splitlines())}
        engine = told["car", 0xC0]
        assert engine["message"] == "ENGINE_SPEED"
        assert 0 <= engine["signals"]["ENGINE_RPM"] < 10_000
        assert engine["units"]["ENGINE_RPM"] == "rpm"
        assert engine["names"]["ENGINE_STATE"] in ("Off", "Ignition on", "Cranking", "Running")
        assert (told["body", 0x7E0]["message"], told["body", 0x7E0]["signals"]) == (None, {"data": "0102030405"})
        code, out, err = await live.command("tail", "--when", "ENGINE_RPMS > 1")
        assert (code, out) == (2, "")
        assert 'did you mean "ENGINE_RPM"' in err


async def test_tail_goes_on_as_long_as_somebody_reads(tmp_path: Path) -> None:
    async with bench(tmp_path) as live:
        arguments = ("tail", "--json", "--every", "0.1", "--signal", "ENGINE_RPM", "--config", str(live.agent.config))
        async with running_command(*arguments) as process:
            assert process.stdout is not None
            counts = [json.loads(await process.stdout.readline())["count"] for _ in range(4)]
            assert counts == sorted(set(counts))
            process.send_signal(signal.SIGINT)
            await process.communicate()
            assert process.returncode == 0
        assert await live.agent.stop() == 0


async def test_tail_draws_in_place_on_a_terminal(tmp_path: Path) -> None:
    async with bench(tmp_path) as live:
        command = ("tail", "--signal", "ENGINE_RPM", "--config", str(live.agent.config))
        async with on_terminal(*command) as terminal:
            await terminal.until(b"ENGINE_RPM", 3)
            assert terminal.drawn.startswith(b"\x1b[?25l")
            assert terminal.drawn.count(b"\x1b[H") >= 3
            terminal.process.send_signal(signal.SIGINT)
            await terminal.until(b"\x1b[?25h")
            assert await terminal.process.wait() == 0


async def test_curves_are_drawn_on_a_terminal_of_its_size_until_interrupted(tmp_path: Path) -> None:
    async with bench(tmp_path) as live:
        command = ("tail", "--plot", "ENGINE_RPM", "TRANSMISSION.GEAR_ENGAGED", "--config", str(live.agent.config))
        async with on_terminal(*command, environment={"PYTHONUTF8": "1", "TERM": "xterm"}) as terminal:
            await terminal.until(b"TRANSMISSION.GEAR_ENGAGED", 4)
            await terminal.until(b"ENGINE_SPEED.ENGINE_RPM")
            *_, screen, _ = terminal.drawn.decode(errors="replace").split("\x1b[H")
            lines = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", screen).splitlines()
            assert len(lines) <= 23
            assert max(map(len, lines)) <= 80
            assert any(0x2800 < ord(character) < 0x2900 for character in screen)
            assert "-60 s" in screen
            terminal.process.send_signal(signal.SIGINT)
            await terminal.until(b"\x1b[?25h")
            assert await terminal.process.wait() == 0
        assert (await live.command("tail", "--plot", "ENGINE_RPM"))[0] == 2  # a pipe
        assert (await live.command("tail", "--once", "--signal", "ENGINE_RMP"))[::2] == (
            2,
            'canferry: the DBC files have no signal "ENGINE_RMP"; did you mean "ENGINE_RPM"?\n',
        )


async def test_explain_tells_what_the_agent_hears_and_what_the_rules_keep(tmp_path: Path) -> None:
    rules = '[[collect]]\nmessage = "ENGINE_*"\nevery = "1s"\npriority = "bulk"\n[[collect]]\nbus = "body"\n'
    rules += '[[integrity]]\nmessage = "ENGINE_SPEED"\ncounter = "COUNTER"\n'
    async with bench(tmp_path, rules) as live:
        await live.status_has("dbc_wrong")
        code, out, _ = await live.command("explain", "0xC0", "--json")
        assert code == 0
        (item,) = json.loads(out)["items"]
        assert (item["bus"], item["message"]) == ("car", "ENGINE_SPEED")
        assert item["received"]["count"] > 0
        assert len(bytes.fromhex(item["received"]["payload"])) == 8
        assert item["dbc"]["file"].endswith("demo_car.dbc")
        values = {signal["name"]: signal["value"] for signal in item["signals"]}
        assert 0 <= values["ENGINE_RPM"] < 10_000
        assert item["kept"] == [{"priority": "bulk", "signals": 7, "how": "last of each 1s", "rules": [1]}]
        assert (item["verified"]["counter"], item["verified"]["wrong"], item["verified"]["missing"]) == (
            "COUNTER",
            0,
            0,
        )
        assert item["verified"]["frames"] > 0
        code, text, _ = await live.command("explain", "BRAKE_PRESSURE")
        assert code == 0
        assert "no: no rule keeps any of its signals" in text
        code, text, _ = await live.command("explain", "7E0")
        assert code == 0
        assert "0x7E0 (2016, 11 bit) on body: described by no DBC file" in text
        assert "01 02 03 04 05" in text
        code, text, _ = await live.command("explain", "18FEF1AAx")
        assert code == 1
        assert "PGN 65265" in text
        assert await live.agent.stop() == 0
        code, text, err = await live.command("explain", "ENGINE_SPEED")
        assert code == 0
        assert "ENGINE_SPEED" in text
        assert "received" not in text
        assert "no agent answers there" in err


async def test_the_level_of_the_log_changes_while_it_runs(tmp_path: Path) -> None:
    async with bench(tmp_path, level="info") as live:
        assert live.agent.process is not None
        code, out, _ = await live.command("status", "--log-level", "debug")
        assert code in (0, 1)
        assert ", logs debug" in out.splitlines()[0]
        await live.agent.said("log_level_changed", now="debug", before="info")
        await live.agent.said("batch_sealed", level="debug")
        live.agent.process.send_signal(signal.SIGUSR1)  # back to what is configured
        while (told := await live.status())[1]["snapshot"]["log_level"] != "info":
            pass
        assert told[1]["snapshot"]["pid"] == live.agent.process.pid
        live.agent.process.send_signal(signal.SIGUSR1)
        while len(live.agent.events("log_level_changed")) < 2:
            await asyncio.sleep(0.02)
        code, _, err = await live.command("status", "--log-level", "all")
        assert code == 2
        assert "invalid choice" in err


async def test_without_an_agent_status_says_so(tmp_path: Path) -> None:
    async with bench(tmp_path) as live:
        assert await live.agent.stop() == 0
        code, out, err = await live.command("status")
        assert (code, out) == (2, "")
        assert "no agent answers there" in err
        assert err.count("\n") == 1


async def test_an_agent_that_finds_its_socket_taken_goes_on_without(tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    async with bench(tmp_path) as live:
        second = Agent(tmp_path / "second", live.agent.config.read_text().replace("drive.log", "../drive.log"))
        (tmp_path / "second/other.dbc").write_text(DBC)
        try:
            await second.start()
            said = await second.said("socket_unavailable", level="warning")
            assert "another agent answers there" in said["reason"]
            await second.said("batch_sealed")
            _, told = await live.status()
            assert told["snapshot"]["pid"] == live.agent.process.pid  # type: ignore[union-attr]
        finally:
            await second.close()
