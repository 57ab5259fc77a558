# SPDX-License-Identifier: Apache-2.0
"""Whether the broker answers, TLS included, takes our login and last will, and would take what we publish.

Promise: a running agent is not thrown off: a second connection by its client id would be. What is asked is a name
beside it, `SUFFIX` behind it, for a session that leaves nothing; its last will is on a topic with `SUFFIX` behind it,
and withdrawn. What is published reaches nobody (`uplink.trial`). It is not asked at all where the endpoint ties client
ids to credentials, and where the agent that runs here is connected already: a broker may know clients by user name or
certificate alone.
Where it speaks only 3.1.1, that is a warning, with what that cannot tell.
Limits: a broker that goes by client ids may refuse what it takes from the agent, and the other way round; one that
takes no QoS 2 is not asked what it would take, and in MQTT 3.1.1 none can say so. At most `REACH_S` a connection,
twice where the MQTT version is being found, and `TRIAL_S` a publish.
Failure: none; a broker that does not answer is a warning, for it may be a dead spot; one that refuses us, an error.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from agent.batch.catalog import Catalog, encode_catalog
from agent.cli.preflight.result import ERROR, LOGIN, OK, PUBLISH, WARNING, CheckResult
from agent.config.collecting import priorities_in_use
from agent.daemon.options import mqtt_options, sender_options
from agent.errors import AgentError, ConfigError, DatabaseError, UplinkError
from agent.units import Size
from agent.uplink.brokers import FILE, BrokerMemory
from agent.uplink.connect import open_socket
from agent.uplink.credentials import tls_context
from agent.uplink.mqtt_client import V311
from agent.uplink.mqtt_transport import Connector
from agent.uplink.profiles import GENERIC
from agent.uplink.reasons import UNACCEPTABLE
from agent.uplink.transport import SILENT_REFUSALS, Answer, Outcome, RefusedError, Trouble
from agent.uplink.trial import Verdict, try_publish

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agent.config import Config
    from agent.model import MessageDefinition
    from agent.uplink.mqtt_client import MqttConnection
    from agent.uplink.options import MqttOptions
    from agent.uplink.properties import MessageProperties

REACH_S, TRIAL_S = 5.0, 20.0
SUFFIX = "-check"
STATUS_BYTES = 1024
_ID_REFUSED, _NOT_AUTHORIZED = 0x85, 0x87
_LASTING = frozenset({0x84, 0x90, 0x95, 0x9A, 0x9B})
"""What a CONNACK refuses that no waiting mends (MQTT 5.0, 3.2.2.2), beside credentials: what we ask for."""


@dataclass(frozen=True, slots=True)
class _TrialMessage:
    """One that `run` will publish. `needed`: without it no batch goes."""

    key: str
    topic: str
    size_bytes: int
    properties: MessageProperties
    needed: bool = True


async def check_broker(config: Config, messages: Sequence[MessageDefinition] = ()) -> list[CheckResult]:
    """Whether the broker, which is configured, answers, lets us in, and takes what these messages come to."""
    options = replace(mqtt_options(config), connect_timeout_s=REACH_S)
    name = f"{options.client_id}{SUFFIX}"
    how = "answers, its certificate is good" if options.tls else "answers, not encrypted"
    memory = BrokerMemory(config.spool.path / FILE, writes=False)
    asked = replace(options, client_id=name, will_topic=options.will_topic and f"{options.will_topic}{SUFFIX}")
    try:
        if untried := _untried(config, options):
            await _reach(options)
            return [CheckResult(OK, "mqtt.broker", f"{options.address} {how}; login not tried: {untried}")]
        findings, takes = await _ask(asked, _published(config, messages), options.client_id, memory)
    except RefusedError as error:
        return [await _refused(error, options.client_id, asked, memory)]
    except (TimeoutError, UplinkError, ConfigError, OSError) as error:
        text = f"no answer from {options.address} within {REACH_S:.0f} s" if not str(error) else str(error)
        return [CheckResult(WARNING, "mqtt.broker", text)]
    login = CheckResult(OK, "mqtt.broker", f'{options.address} {how}; {takes}logged in as "{name}"')
    return [login, *findings]


async def _ask(
    options: MqttOptions, published: Sequence[_TrialMessage], own_id: str, memory: BrokerMemory
) -> tuple[list[CheckResult], str]:
    """What is wrong with what would be published, and in words what is known to be taken."""
    findings: list[CheckResult] = []
    async with await Connector(options, memory=memory).connect() as connection:
        findings += _unretained(options, connection)
        old = connection.version is V311
    if old and options.version == "auto":
        text = f"{options.address} refuses MQTT 5, and is spoken to in 3.1.1: {SILENT_REFUSALS}"
        findings.append(CheckResult(WARNING, "mqtt.version", text))
    for message in published:
        verdict = await _try(replace(options, will_topic=""), message, memory)
        if verdict.answer is None:
            return findings, "whether it takes batches was not tried: it has no QoS 2; "
        findings += _publish_results(options, message, verdict, verdict.answer, own_id)
    if old:
        return findings, "whether it takes batches MQTT 3.1.1 cannot tell; "
    refused = any(finding.subject == PUBLISH for finding in findings)
    return findings, "" if refused else f"takes batches of {Size(published[0].size_bytes)}; "


async def _try(options: MqttOptions, message: _TrialMessage, memory: BrokerMemory) -> Verdict:
    try:
        async with await Connector(options, memory=memory).connect() as connection:
            return await try_publish(connection, message.topic, message.size_bytes, TRIAL_S, message.properties)
    except RefusedError as error:
        return Verdict(Answer(Outcome.LOST, error.code, str(error)))


def _published(config: Config, messages: Sequence[MessageDefinition]) -> list[_TrialMessage]:
    """The largest of each kind, a batch for each of its topics first."""
    sending = sender_options(config)
    found = []
    for topic in dict.fromkeys(
        sending.batch_topic(str(each)) for each in priorities_in_use(config.collect, config.triggers)
    ):
        properties = sending.properties("batch", "critical-0123456789ab/1000000")
        found.append(_TrialMessage("mqtt.topic_batch", topic, config.batch.max_bytes, properties))
    try:
        size = len(encode_catalog(Catalog(tuple(bus.name for bus in config.buses), tuple(messages))))
    except DatabaseError:  # reported by the check of the catalog
        size = 0
    properties = sending.properties("catalog", "0" * 32)
    found.append(_TrialMessage("mqtt.topic_catalog", sending.topic(sending.catalog), size, properties))
    if sending.status:
        properties = sending.properties("status", "0" * 16)
        found.append(
            _TrialMessage("mqtt.topic_status", sending.topic(sending.status), STATUS_BYTES, properties, needed=False)
        )
    return found


def _publish_results(
    options: MqttOptions, message: _TrialMessage, verdict: Verdict, answer: Answer, own_id: str
) -> Iterator[CheckResult]:
    """As `run` would fare with it: what it can do without is a warning, as is what waiting may mend."""
    if answer.outcome is Outcome.ACCEPTED:
        return
    hint = UNACCEPTABLE.get(answer.code, "look at its log").replace("mqtt.topic_batch", message.key)
    if answer.outcome is Outcome.UNAUTHORIZED:
        hint = "allow this client to publish there in the broker's access rules" + _by_client_id(
            options.client_id, own_id
        )
    elif answer.outcome in (Outcome.BUSY, Outcome.LOST):
        hint = "run tries again"
    spared = message.key == "mqtt.topic_catalog" and answer.outcome is Outcome.UNACCEPTABLE and not verdict.closed
    dispensable = spared or (not message.needed and not verdict.closed)
    grave = answer.outcome in (Outcome.UNAUTHORIZED, Outcome.UNACCEPTABLE) and not dispensable
    what = f"{int(message.size_bytes)} bytes to {message.topic} ({message.key})"
    text = f"broker {options.address}: it would not take {what}: {answer.reason}; {hint}"
    yield CheckResult(ERROR if grave else WARNING, PUBLISH, text)


def _unretained(options: MqttOptions, connection: MqttConnection) -> Iterator[CheckResult]:
    """With a last will, a broker that keeps nothing has refused us."""
    if options.retain and not connection.limits.retain:
        text = (
            f"broker {options.address}: it keeps no retained messages: a receiver has to listen before the catalog is"
        )
        yield CheckResult(WARNING, "mqtt.retain", f"{text} sent; set mqtt.retain = false")


async def _reach(options: MqttOptions) -> None:
    async with asyncio.timeout(REACH_S):
        context = tls_context(options) if options.tls else None
        (await open_socket(options, context)).close()


async def _refused(error: RefusedError, own_id: str, asked: MqttOptions, memory: BrokerMemory) -> CheckResult:
    """The broker's refusal of the login, or of the last will alone."""
    text = str(error)
    if error.silent or error.code in (_ID_REFUSED, _NOT_AUTHORIZED):
        text += _by_client_id(asked.client_id, own_id)
    lasting = error.code in _LASTING
    if asked.will_topic or error.silent:
        again = await _refusal(replace(asked, will_topic=""), memory)
        if again is None and asked.will_topic and error.trouble is not Trouble.BUSY:
            without_will = f"{text}; without a last will it lets us in: see mqtt.topic_status and mqtt.retain"
            return CheckResult(ERROR, LOGIN, without_will)
        lasting |= error.silent and again is not None and again.silent  # no dead spot closes twice at once
    if lasting or (error.trouble is Trouble.UNAUTHORIZED and error.code != _ID_REFUSED):
        return CheckResult(ERROR, LOGIN, text)
    return CheckResult(WARNING, "mqtt.broker", text)


async def _refusal(options: MqttOptions, memory: BrokerMemory) -> RefusedError | None:
    try:
        async with await Connector(options, memory=memory).connect():
            return None
    except RefusedError as error:
        return error


def _by_client_id(name: str, own_id: str) -> str:
    return (
        f'; asked as "{name}", not to end the agent\'s own connection: a broker that lets in known client ids'
        f' alone may refuse that, and still take "{own_id}"'
    )


def _untried(config: Config, options: MqttOptions) -> str:
    """Why the login is not to be tried; "" where it is."""
    assert config.mqtt is not None
    if config.mqtt.profile != GENERIC.name:
        return f"{config.mqtt.profile} knows these credentials by one client id, at which the agent would be thrown off"
    if not config.agent.socket:
        return ""
    from agent.live.client import ask_once

    try:
        snapshot = ask_once(Path(config.agent.socket), "status").snapshot
    except AgentError as error:
        absent = isinstance(error.__cause__, FileNotFoundError | ConnectionRefusedError)
        return "" if absent else f"an agent may be connected, which cannot be asked: {error}"
    assert snapshot is not None
    connected = snapshot.link.connected and snapshot.link.broker == options.address
    return "the agent that runs here is connected: canferry status" if connected else ""
