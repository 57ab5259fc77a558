# SPDX-License-Identifier: Apache-2.0
"""Modems that answer well, slowly, in between, not at all; over pseudo-terminals."""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from agent.uplink.cellular.modem import Modem
from agent.uplink.cellular.network import ModemState, Registration, Sim
from tests.support.terminal import Terminal, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

pytestmark = pytest.mark.timeout(120)

HOME = {
    "AT+CPIN?": "+CPIN: READY",
    "AT+CEREG?": '+CEREG: 2,1,"1A2B","01A2B3C4",7',
    "AT+CREG?": "+CREG: 2,0",
    "AT+COPS?": '+COPS: 0,0,"Telekom.de",7',
    "AT+CSQ": "+CSQ: 18,99",
    "AT+CESQ": "+CESQ: 99,99,255,255,20,46",
}
ROAMING = HOME | {"AT+CEREG?": "+CEREG: 2,5", "AT+COPS?": '+COPS: 0,0,"Orange F",7'}
NO_SERVICE = HOME | {"AT+CEREG?": "+CEREG: 2,2", "AT+COPS?": "+COPS: 0", "AT+CSQ": "+CSQ: 99,99"}
NO_SERVICE |= {"AT+CESQ": "+CESQ: 99,99,255,255,255,255"}
OLD = HOME | {"AT+CEREG?": "ERROR", "AT+CREG?": "+CREG: 0,1", "AT+CESQ": "ERROR", "AT+COPS?": '+COPS: 0,0,"o2",2'}
REMOVED = dict.fromkeys(HOME, "+CME ERROR: 10")
AT_HOME = ModemState(Sim.READY, 1, 0, "Telekom.de", "4G", -77, -95, -10.0)


class ScriptedModem(Terminal):
    """Answers what its script says, after `delay_s`; silent where it has none. `asked` is what it was asked."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.script: dict[str, str] | None = HOME
        self.delay_s = 0.0
        self.between = b""
        self.asked: list[str] = []

    async def run(self) -> None:
        begun = b""
        while True:
            *commands, begun = (begun + self.listen()).split(b"\r")
            for command in map(bytes.decode, commands):
                self.asked.append(command)
                if self.script is not None:
                    await asyncio.sleep(self.delay_s)
                    await self.say(self.answer(command))
            await asyncio.sleep(0.001)

    def answer(self, command: str) -> bytes:
        assert self.script is not None
        said = self.script.get(command, "")
        final = said if said == "ERROR" or said.startswith("+CME") else "OK"
        information = b"" if said == final else b"\r\n" + said.encode() + b"\r\n"
        return command.encode() + b"\r" + self.between + information + b"\r\n" + final.encode() + b"\r\n"


@pytest.fixture
def far(tmp_path: Path) -> Iterator[ScriptedModem]:
    modem = ScriptedModem(tmp_path / "ttyUSB2")
    yield modem
    modem.unplug()


@asynccontextmanager
async def asked(far: ScriptedModem, poll_s: float = 0.01, **options: Any) -> AsyncIterator[Modem]:
    modem = Modem(str(far.path), 115200, poll_s, retry_first_s=0.01, **options)
    tasks = [asyncio.create_task(modem.run()), asyncio.create_task(far.run())]
    try:
        yield modem
        assert not any(task.done() for task in tasks), "nothing ends it"
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


@pytest.mark.parametrize(
    ("script", "state", "said"),
    [
        (HOME, AT_HOME, "modem home Telekom.de 4G -95dBm"),
        (ROAMING, ModemState(Sim.READY, 5, 0, "Orange F", "4G", -77, -95, -10.0), "modem roaming Orange F 4G -95dBm"),
        (NO_SERVICE, ModemState(Sim.READY, 2, 0), "modem searching"),
        (OLD, ModemState(Sim.READY, None, 1, "o2", "3G", -77), "modem home o2 3G -77dBm"),
        (REMOVED, ModemState(Sim.ABSENT), "modem SIM absent unknown"),
    ],
)
async def test_what_the_modem_says_is_the_state(
    far: ScriptedModem, script: dict[str, str], state: ModemState, said: str
) -> None:
    far.script = script
    async with asked(far) as modem:
        await until(lambda: far.asked.count("AT+CESQ") >= 2)
        await until(lambda: modem.state == state)
        assert str(modem) == said


async def test_changes_are_told_once_and_a_removed_sim_as_a_warning(far: ScriptedModem) -> None:
    with capture_logs() as logs:
        async with asked(far) as modem:
            for script in (HOME, ROAMING, REMOVED):
                far.script = script
                rounds = far.asked.count("AT+CESQ")
                await until(lambda rounds=rounds: far.asked.count("AT+CESQ") > rounds + 2)  # type: ignore[misc]
            assert modem.state.sim is Sim.ABSENT
    told = [(line["registration"], line["operator"]) for line in logs if line["event"] == "network_changed"]
    assert told[:2] == [("home", "Telekom.de"), ("roaming", "Orange F")]
    assert told[2:] == [("unknown", "")]
    assert [line["sim"] for line in logs if line["event"] == "sim_missing"] == ["absent"]


async def test_what_comes_unasked_is_heard_and_looked_into_at_once(far: ScriptedModem) -> None:
    async with asked(far, poll_s=3600.0) as modem:
        await until(lambda: modem.state == AT_HOME)
        far.script = ROAMING
        await far.say(b'\r\nRING\r\n\r\n+CEREG: 5,"1A2B","01A2B3C4",7\r\n')
        await until(lambda: modem.state.roaming)
        await until(lambda: modem.state.operator == "Orange F")


async def test_lines_between_an_answers_lines_do_not_disturb_it(far: ScriptedModem) -> None:
    far.between = b"\r\nRING\r\n\r\n+QIND: 1\r\n\xff\xfe\r\n"
    async with asked(far) as modem:
        await until(lambda: modem.state == AT_HOME)


async def test_a_slow_modem_is_waited_for_and_a_late_answer_still_counts(far: ScriptedModem) -> None:
    far.delay_s = 0.05
    async with asked(far, answer_max_s=0.02) as modem:
        await until(lambda: modem.state == AT_HOME)


async def test_a_modem_that_never_answers_is_told_once_and_asked_again(far: ScriptedModem) -> None:
    far.script = None
    with capture_logs() as logs:
        async with asked(far, answer_max_s=0.01) as modem:
            await until(lambda: len(far.asked) >= 9)
            assert str(modem) == "modem silent"
            far.script = HOME
            await until(lambda: modem.state == AT_HOME)
            assert str(modem) == "modem home Telekom.de 4G -95dBm"
            far.script = None
            await until(lambda: modem.state == ModemState())
    told = [line["event"] for line in logs if line["event"].startswith("modem")]
    assert told == ["modem_silent", "modem_heard", "modem_silent"]


async def test_noise_is_survived_and_never_holds_up_the_loop(far: ScriptedModem) -> None:
    noise = random.Random(1).randbytes(100_000)
    longest_s = 0.0

    async def watch() -> None:
        nonlocal longest_s
        while True:
            begun = asyncio.get_running_loop().time()
            await asyncio.sleep(0)
            longest_s = max(longest_s, asyncio.get_running_loop().time() - begun)

    async with asked(far, answer_max_s=0.05) as modem:
        watching = asyncio.create_task(watch())
        for _ in range(3):
            far.script = None
            await far.say(noise)
            await far.say(b"\r\n")
            far.script = HOME
            await until(lambda: modem.state == AT_HOME)
        watching.cancel()
    assert longest_s < 5.0, "a pause that only a blocked loop has; the machine's own are shorter"


async def test_a_modem_that_hangs_up_in_the_middle_of_a_line_comes_back(far: ScriptedModem) -> None:
    with capture_logs() as logs:
        async with asked(far) as modem:
            for _ in range(2):
                await until(lambda: modem.state == AT_HOME)
                await far.say(b"\r\n+CEREG: 2,")
                far.unplug()
                await until(lambda: str(modem) == "modem down")
                assert modem.state == ModemState()
                far.plug()
                await until(lambda: modem.state.registration is Registration.HOME)
    assert far.asked.count("ATE0") == 3, "who comes back has to be greeted again"
    events = [line["event"] for line in logs if line["event"].startswith("port")]
    assert events == ["port_up", *["port_down", "port_up"] * 2]
