# SPDX-License-Identifier: Apache-2.0
"""Where the broker is, how to speak to it and how to send: plain, frozen, validated where it was read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from agent.errors import ConfigError
from agent.uplink.properties import NONE, MessageProperties, cloud_event

if TYPE_CHECKING:
    from pathlib import Path

Version = Literal["auto", "5", "3.1.1"]
SCHEMES = {"mqtt": (False, 1883), "mqtts": (True, 8883)}


@dataclass(frozen=True, slots=True)
class MqttOptions:
    """One broker and one client.

    version                MQTT version; "auto" tries 5, then 3.1.1 where the broker's CONNACK refuses 5
    password_file          its first line; read at every connection, so that a new secret needs no restart
    ca                     PEM file of the authorities to trust; None: the system's
    certificate, key       the client's own, PEM; read at every connection
    keepalive_s            whole seconds, 1…65535; see `answer_timeout_s`
    connect_timeout_s      for name, TCP, TLS and CONNACK together
    acknowledge_timeout_s  a publish waiting this long while no byte moves ends the link
    answer_timeout_s       so does a ping. An idle link that died is found after keepalive + this
    will_topic             "" sends no last will
    retain                 the last will is retained, and so are messages that ask for it
    retained_bytes_max     of a whole PUBLISH that is; a larger one that asks for it is not
    no_subscribers         "accept": what the broker says that nobody subscribes to (0x10) has been taken by its rules
    message_bytes_max      of a whole PUBLISH, where the endpoint is known to take no more
    congestion             TCP's congestion control, where the kernel allows it; "": the kernel's own choice
    alpn                   the TLS protocol name to ask for (RFC 7301); "": none
    """

    host: str
    port: int = 8883
    tls: bool = True
    client_id: str = "canferry"
    version: Version = "auto"
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    password_file: Path | None = None
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    keepalive_s: int = 30
    connect_timeout_s: float = 20.0
    acknowledge_timeout_s: float = 30.0
    answer_timeout_s: float = 20.0
    will_topic: str = ""
    will_payload: bytes = b""
    retain: bool = True
    retained_bytes_max: int | None = None
    no_subscribers: Literal["keep", "accept"] = "keep"
    message_bytes_max: int | None = None
    congestion: str = ""
    alpn: str = ""

    @property
    def address(self) -> str:
        """host:port, an IPv6 address in brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class SenderOptions:
    """How to send.

    batch, catalog, status         topics, in which {vehicle} stands for the vehicle's id, in `batch` {class} for the
                                   batch's class; status "": no such messages
    window_batches, window_bytes   published and not yet answered, at most; payload bytes
    backlog_rate                   bytes a second for the backlog, None: as fast as it goes
    publishes_per_s, bytes_per_s   what the endpoint takes of all messages together; None: any
    cloud_events                   make each message a CloudEvent
    closes_over                    what this kind of endpoint closes the link over without a word
    backoff_base_s, backoff_max_s, backoff_spread_s, reconnect_least_s   see `backoff`
    probe_s                        how often one batch asks again where the broker keeps none
    turn_max_s                     a step, such as a connection's coming up, that takes longer is stuck
    """

    vehicle: str
    batch: str = "canferry/{vehicle}/batch"
    catalog: str = "canferry/{vehicle}/catalog"
    status: str = "canferry/{vehicle}/status"
    window_batches: int = 8
    window_bytes: int = 256 << 10
    backlog_rate: float | None = None
    publishes_per_s: float | None = None
    bytes_per_s: float | None = None
    cloud_events: bool = False
    closes_over: str = ""
    backoff_base_s: float = 1.0
    backoff_max_s: float = 300.0
    backoff_spread_s: float = 0.0
    reconnect_least_s: float = 0.0
    probe_s: float = 60.0
    turn_max_s: float = 120.0

    def topic(self, template: str) -> str:
        """The topic that `catalog` or `status` stands for."""
        return template.replace("{vehicle}", self.vehicle)

    def batch_topic(self, stream: str) -> str:
        """The topic of a batch: its stream is named after its priority."""
        return self.topic(self.batch).replace("{class}", stream.partition("-")[0])

    def properties(self, kind: str, name: str) -> MessageProperties:
        """Those of a message: "batch", "catalog" or "status", and what tells it from others of its kind."""
        return cloud_event(kind, self.vehicle, name) if self.cloud_events else NONE


@dataclass(frozen=True, slots=True)
class Session:
    """What kind of session to ask for.

    clean             forget what an earlier connection left
    expiry_s          how long the broker keeps subscriptions and messages while nobody is connected
    receive_maximum   messages that may wait here for their acknowledgement (MQTT 5)
    """

    clean: bool = True
    expiry_s: int = 0
    receive_maximum: int | None = None


def parse_broker(url: str) -> tuple[str, int, bool]:
    """Host, port and whether TLS is spoken, from `mqtts://host[:port]` or `mqtt://host[:port]`.

    Raises ConfigError with what is accepted, and never with a password.
    """
    accepted = "mqtts://host[:port] or mqtt://host[:port]"
    if "@" in url:
        raise ConfigError("broker: user name and password do not belong in the address; use username and password_file")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ConfigError(f"broker {url!r}: {error}; accepted is {accepted}") from None
    if parts.scheme not in SCHEMES or not parts.hostname:
        raise ConfigError(f"broker {url!r} is not {accepted}")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ConfigError(f"broker {parts.netloc!r}: nothing may follow the port; accepted is {accepted}")
    tls, default = SCHEMES[parts.scheme]
    return parts.hostname, default if port is None else port, tls
