# SPDX-License-Identifier: Apache-2.0
"""Whether the broker answers, TLS included, and takes our login.

Promise: a running agent is not thrown off: a second connection by its client id would be. What is asked is a name
beside it, `SUFFIX` behind it, for a session that leaves nothing, without a last will. It is not asked at all where the
endpoint ties client ids to credentials, and where the agent that runs here is connected already: a broker may know
clients by user name or certificate alone.
Where it speaks only 3.1.1, that is a warning, with what that cannot tell.
Limits: whether we may publish is not tried. At most `REACH_S`, twice where the MQTT version is being found.
Failure: none; a broker that does not answer is a warning, for it may be a dead spot; one that refuses us, an error.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from agent.errors import AgentError, ConfigError, UplinkError
from agent.preflight.finding import LOGIN, Finding, Level
from agent.settings import mqtt_options
from agent.uplink.brokers import FILE, BrokerMemory
from agent.uplink.credentials import tls_context
from agent.uplink.dialing import open_socket
from agent.uplink.link import Dialer
from agent.uplink.profiles import GENERIC
from agent.uplink.transport import UNTOLD, RefusedError, Trouble

if TYPE_CHECKING:
    from agent.config import Config
    from agent.uplink.options import MqttOptions

REACH_S = 5.0
SUFFIX = "-check"
_ID_REFUSED, _NOT_AUTHORIZED = 0x85, 0x87


async def check_broker(config: Config) -> Finding:
    """Whether the broker, which is configured, answers and lets us in."""
    options = replace(mqtt_options(config), connect_timeout_s=REACH_S, will_topic="")
    untried = _untried(config, options)
    name = f"{options.client_id}{SUFFIX}"
    try:
        if untried:
            await _reach(options)
        else:
            memory = BrokerMemory(config.spool.path / FILE, writes=False)
            async with await Dialer(replace(options, client_id=name), memory=memory).dial() as connection:
                if connection.version_name == "3.1.1" and options.version == "auto":
                    text = f"{options.address} refuses MQTT 5, and is spoken to in 3.1.1: {UNTOLD}"
                    return Finding(Level.WARNING, "mqtt.version", text)
    except RefusedError as error:
        return _refused(error, options.client_id, name)
    except (TimeoutError, UplinkError, ConfigError, OSError) as error:
        text = f"no answer from {options.address} within {REACH_S:.0f} s" if not str(error) else str(error)
        return Finding(Level.WARNING, "mqtt.broker", text)
    how = "answers, its certificate is good" if options.tls else "answers, not encrypted"
    login = f"login not tried: {untried}" if untried else f'logged in as "{name}"'
    return Finding(Level.OK, "mqtt.broker", f"{options.address} {how}; {login}")


async def _reach(options: MqttOptions) -> None:
    async with asyncio.timeout(REACH_S):
        context = tls_context(options) if options.tls else None
        (await open_socket(options, context)).close()


def _refused(error: RefusedError, own: str, name: str) -> Finding:
    text = str(error)
    if error.silent or error.code in (_ID_REFUSED, _NOT_AUTHORIZED):
        text += f'; asked as "{name}", not to end the agent\'s own connection: a broker that lets in known client ids'
        text += f' alone may refuse that, and still take "{own}"'
    if error.trouble is Trouble.UNAUTHORIZED and error.code != _ID_REFUSED:
        return Finding(Level.ERROR, LOGIN, text)
    return Finding(Level.WARNING, "mqtt.broker", text)


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
