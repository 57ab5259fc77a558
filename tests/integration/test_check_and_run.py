# SPDX-License-Identifier: Apache-2.0
"""What `canferry run` would be refused for ever, `canferry check` finds: both are asked about the same brokers.

Each case has a broker, real or scripted, and a configuration; what `run` makes of it is seen, not expected.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiomqtt
import pytest

from tests.support.mosquitto import running
from tests.support.processes import SIMULATED, Agent
from tests.support.scripted import CLOSE, ScriptedBroker, connack, disconnect, puback

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.scripted import Publish

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

CONFIG = SIMULATED.replace("[agent]\n", '[agent]\nsocket = ""\n').replace("30s", "0s")
RULES = {kind: f"topic write canferry/car-1/{kind}\n" for kind in ("batch", "catalog", "status")}


@dataclass(frozen=True)
class Case:
    """A broker, real with settings and access rules, or scripted; keys of ``[mqtt]``; what else is replaced."""

    settings: tuple[str, ...] = ()
    acl: str | None = None
    scripted: dict[str, Any] | None = None
    keys: str = ""
    change: tuple[str, str] = ("", "")


def over(kind: str, reply: bytes) -> dict[str, Any]:
    """A broker that answers so to what is published to topics of a kind, and takes the rest."""

    def judge(publish: Publish, _: object) -> str:
        return "it does not like that" if reply is CLOSE and publish.topic.endswith(kind) else ""

    def answer(publish: Publish) -> bytes:
        return (reply or puback(publish)) if publish.topic.endswith(kind) else puback(publish)

    return {"judge": judge, "answer": answer}


def code(number: int) -> dict[str, Any]:
    """A broker that acknowledges every batch with this code."""
    return {"answer": lambda publish: puback(publish, number if publish.topic.endswith("batch") else 0)}


CASES = {
    "all is well": Case(),
    "3.1.1": Case(keys='version = "3.1.1"'),
    "nothing is retained": Case(("retain_available false",)),
    "nothing is retained, in 3.1.1": Case(("retain_available false",), keys='version = "3.1.1"'),
    "nothing is retained, as configured": Case(("retain_available false",), keys="retain = false"),
    "nothing is retained, without a status": Case(("retain_available false",), keys='topic_status = ""'),
    "batches are forbidden": Case(acl=RULES["catalog"] + RULES["status"]),
    "catalogs are forbidden": Case(acl=RULES["batch"] + RULES["status"]),
    "the status is forbidden": Case(acl=RULES["batch"] + RULES["catalog"]),
    "a class is forbidden": Case(acl=RULES["catalog"] + "topic write a/bulk\n", keys='topic_batch = "a/{class}"'),
    "the class is allowed": Case(acl=RULES["catalog"] + "topic write a/normal\n", keys='topic_batch = "a/{class}"'),
    "payloads are too large": Case(("message_size_limit 100",)),
    "packets are too large": Case(("max_packet_size 300",)),
    "no QoS 1": Case(("max_qos 0",)),
    "no QoS 2": Case(("max_qos 1",)),
    "one message at a time": Case(("max_inflight_messages 1",)),
    "it closes over batches": Case(scripted=over("/batch", CLOSE)),
    "it closes over catalogs": Case(scripted=over("/catalog", CLOSE)),
    "it closes over the status": Case(scripted=over("/status", CLOSE)),
    "it disconnects over batches": Case(scripted=over("/batch", disconnect(0x95))),
    "batches are malformed": Case(scripted=code(0x99)),
    "batches have a wrong topic": Case(scripted=code(0x90)),
    "it closes over the last will": Case(scripted={"admit": lambda connect: "will" if connect.will else ""}),
    "it refuses every last will": Case(scripted={"connack": lambda level: connack(0x9A)}),
    "it speaks 3.1.1 alone": Case(
        scripted={"connack": lambda level: connack(0x84) if level == 5 else b"\x20\x02\x00\x00"}, keys='version = "5"'
    ),
    "it closes over version 5": Case(
        scripted={"admit": lambda connect: "five" if connect.level == 5 else ""}, keys='version = "5"'
    ),
    "it closes over everybody": Case(scripted={"admit": lambda connect: "no"}),
    "a DBC file is missing": Case(change=('"simulator"', '"simulator"\ndbc = ["gone.dbc"]')),
    "a DBC file is none": Case(change=('"simulator"', '"simulator"\ndbc = ["agent.toml"]')),
    "the spool is a file": Case(change=('"spool"', '"agent.toml"')),
    "the spool lies below a file": Case(change=('"spool"', '"agent.toml/spool"')),
    "the disk is full": Case(change=('min_free = "0B"', 'min_free = "100000GiB"')),
    "the log is missing": Case(change=('"simulator"', '"replay"\nchannel = "gone.log"\nkeep_unknown = true')),
    "the password is missing": Case(keys='username = "car-1"\npassword_file = "gone"'),
    "a topic that MQTT has not": Case(keys='topic_batch = "a\\u0085b"'),
    "a topic of the broker's own": Case(keys='topic_batch = "$SYS/broker/batch"'),
}


@contextlib.asynccontextmanager
async def broker_of(case: Case, folder: Path) -> AsyncIterator[str]:
    """Its address; somebody listens, where it is a real one."""
    if case.scripted is not None:
        async with ScriptedBroker(**case.scripted) as scripted:
            yield f"mqtt://127.0.0.1:{scripted.port}"
        return
    acl = case.acl and f"{case.acl}topic read #\n"
    async with (
        running(folder / "broker", config=case.settings, acl=acl) as real,
        aiomqtt.Client(real.host, real.port) as listener,
    ):
        await listener.subscribe("#")
        yield real.url()


async def checked(folder: Path) -> tuple[int, list[str]]:
    """Status and findings but for those that all is well."""
    pipe = asyncio.subprocess.PIPE
    command = [sys.executable, "-m", "agent", "check", "--config", str(folder / "agent.toml"), "--json"]
    process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe)
    out, errors = await process.communicate()
    assert process.returncode in (0, 2), errors
    findings = [finding for finding in json.loads(out)["findings"] if finding["level"] != "ok"]
    return process.returncode, [f"{finding['level']} {finding['subject']}: {finding['text']}" for finding in findings]


async def is_refused(agent: Agent) -> bool:
    """Whether something is refused before a batch has been acknowledged."""
    await agent.start()
    assert agent.process is not None
    try:
        async with asyncio.timeout(60):
            while agent.process.returncode is None:
                for line in agent.lines():
                    if line["event"] == "batch_acknowledged":
                        return False
                    about_batches = line["event"] not in ("status_refused", "catalog_refused")
                    if line["level"] in ("warning", "error") and "refused" in line["event"] and about_batches:
                        return True
                    if line["event"] in ("link_lost", "batch_over_limit", "batch_doubted", "batches_rejected"):
                        return True
                await asyncio.sleep(0.05)
        return True
    finally:
        await agent.close()


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_check_finds_what_run_is_refused_for(tmp_path: Path, case: Case) -> None:
    async with broker_of(case, tmp_path) as url:
        keys = f'broker = "{url}"\n{case.keys}\n'
        agent = Agent(tmp_path, CONFIG.replace('broker = "BROKER"\n', keys).replace(*case.change))
        status, findings = await checked(tmp_path)
        refused = await is_refused(agent)
    assert (status, refused) in ((0, False), (2, True)), findings
