# SPDX-License-Identifier: Apache-2.0
"""Small servers as strict as the endpoints that car makers use: each closes over what its original closes over.

Their numbers are written down here a second time, from the same documents as `agent/uplink/profiles.py`, and not taken
from there: what the agent believes is not what it is measured by. `closed_over` of the server says what it saw.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from tests.support.scripted import Connect, Publish, ScriptedBroker, connack

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.mosquitto import Certificates


@dataclass
class Endpoint:
    """Judges packets of one connection at a time; rates are counted over the last second."""

    levels: tuple[int, ...] = (4, 5)
    keepalive_s_max: int = 1200
    message_bytes_max: int = 128 * 1024
    in_flight_max: int = 65_535
    in_flight_bytes_max: int = 1 << 30
    publishes_per_s: int = 1 << 30
    bytes_per_s: int = 1 << 30
    connects_per_s: int = 1 << 30
    retained: bool = False
    retained_bytes_max: int = 1 << 30
    connected: deque[float] = field(default_factory=deque)
    recent: deque[tuple[float, int]] = field(default_factory=deque)

    def admit(self, connect: Connect) -> str:
        now = asyncio.get_running_loop().time()
        self.connected.append(now)
        while self.connected[0] <= now - 1.0:
            self.connected.popleft()
        if len(self.connected) > self.connects_per_s:
            return f"{len(self.connected)} connects in a second"
        if connect.level not in self.levels:
            return f"protocol level {connect.level}"
        if connect.keepalive_s > self.keepalive_s_max:
            return f"keep-alive of {connect.keepalive_s} s"
        if connect.properties:
            return "user properties on CONNECT"
        if not connect.subject and connect.password is None:
            return "no certificate"
        if connect.will is not None and (why := self._judge(connect.will)):
            return f"will: {why}"
        return self.admit_client(connect)

    def admit_client(self, connect: Connect) -> str:
        return "" if connect.client_id == connect.subject else "client id is not the certificate's"

    def judge(self, publish: Publish, unanswered: Sequence[Publish]) -> str:
        if why := self._judge(publish):
            return why
        if len(unanswered) + 1 > self.in_flight_max:
            return f"{len(unanswered) + 1} in flight"
        size = sum(other.size_bytes for other in unanswered)
        if unanswered and size + publish.size_bytes > self.in_flight_bytes_max:
            return f"{size + publish.size_bytes} bytes in flight"
        return self._rate(publish.size_bytes)

    def judge_topic(self, topic: str) -> str:
        raise NotImplementedError

    def _judge(self, publish: Publish) -> str:
        if publish.qos > 1:
            return f"QoS {publish.qos}"
        if publish.retain and not (self.retained and publish.size_bytes <= self.retained_bytes_max):
            return "retained"
        if publish.size_bytes > self.message_bytes_max:
            return f"{publish.size_bytes} bytes"
        return self.judge_topic(publish.topic)

    def _rate(self, size_bytes: int) -> str:
        now = asyncio.get_running_loop().time()
        self.recent.append((now, size_bytes))
        while self.recent[0][0] < now - 1.0:
            self.recent.popleft()
        if len(self.recent) > self.publishes_per_s:
            return f"{len(self.recent)} publishes in a second"
        total = sum(size for _, size in self.recent)
        return f"{total} bytes in a second" if total > self.bytes_per_s else ""


@dataclass
class IotHub(Endpoint):
    """Azure IoT Hub: one hub, `localhost`, whose devices are known by the certificate's common name."""

    levels: tuple[int, ...] = (4,)
    keepalive_s_max: int = 1177
    message_bytes_max: int = 256_000
    device: str = ""

    def admit_client(self, connect: Connect) -> str:
        self.device = connect.client_id
        if connect.username != f"localhost/{connect.client_id}/?api-version=2021-04-12":
            return f"user name {connect.username}"
        return super().admit_client(connect) if connect.subject else ""

    def judge_topic(self, topic: str) -> str:
        found = re.fullmatch(r"devices/([^/]+)/messages/events/([^/]*)", topic)
        if found is None:
            return f"topic {topic}"
        return "" if not self.device or unquote(found[1]) == self.device else f"topic of {found[1]}"


@dataclass
class EventGrid(Endpoint):
    """A namespace of Azure Event Grid, whose topic space is canferry/#."""

    keepalive_s_max: int = 1160
    message_bytes_max: int = 512 * 1024
    in_flight_max: int = 1000
    in_flight_bytes_max: int = 64_000
    publishes_per_s: int = 1000
    bytes_per_s: int = 1_000_000
    retained: bool = True
    retained_bytes_max: int = 64 * 1024

    def judge_topic(self, topic: str) -> str:
        segments = topic.split("/")
        allowed = segments[0] == "canferry" and len(segments) <= 15 and len(topic.encode()) <= 256
        return "" if allowed else f"topic {topic}"


@dataclass
class IotCore(Endpoint):
    """AWS IoT Core with a policy that allows what agent/uplink/README.md says."""

    in_flight_max: int = 100
    publishes_per_s: int = 100
    bytes_per_s: int = 512_000
    connects_per_s: int = 1
    retained: bool = True

    def admit_client(self, connect: Connect) -> str:
        if len(connect.client_id.encode()) > 128 or connect.client_id.startswith("$"):
            return f"client id {connect.client_id}"
        return super().admit_client(connect)

    def judge_topic(self, topic: str) -> str:
        allowed = topic.count("/") <= 7 and len(topic.encode()) <= 256 and topic.startswith("canferry/")
        return "" if allowed else f"topic {topic}"


ENDPOINTS: dict[str, type[Endpoint]] = {
    "azure-iot-hub": IotHub,
    "azure-event-grid": EventGrid,
    "aws-iot-core": IotCore,
}


def endpoint(profile: str, certificates: Certificates, **changes: Any) -> ScriptedBroker:
    """The server of a profile, on TLS, not started yet; a client certificate is asked for, and may be missing."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=certificates.ca)
    context.load_cert_chain(certificates.server, certificates.server_key)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.set_alpn_protocols(["x-amzn-mqtt-ca"])
    rules = ENDPOINTS[profile]()
    retain_available = b"" if rules.retained else b"\x25\x00"
    accept = {4: b"\x20\x02\x00\x00", 5: connack(0, retain_available + b"\x22\x00\x0a")}
    chosen: dict[str, Any] = {
        "admit": rules.admit,
        "judge": rules.judge,
        "tls": context,
        "round_trip_s": 0.03,
        "connack": accept.__getitem__,
    }
    return ScriptedBroker(**{**chosen, **changes})
