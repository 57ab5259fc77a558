# SPDX-License-Identifier: Apache-2.0
"""What each kind of endpoint asks of a client: its limits, what it wants to be called, and how a configuration breaks
them. Pure; every limit carries its source.

    profile             speaks       in flight        a message  at most             will, retained
    generic             5, 3.1.1     as configured    -          -                   as MQTT has it
    azure-iot-hub       3.1.1        as configured    256 KB     -                   will yes, retained no
    azure-event-grid    5, 3.1.1     64 KB, 1000      512 KiB    1000/s, 1 MB/s      both, retained up to 64 KB
    aws-iot-core        5, 3.1.1     100              128 KB     100/s, 512 KB/s     both, by policy

Promise: a configuration of which `violations` yields nothing is not refused by its endpoint for its form. What the
configuration leaves at its default is fitted to the endpoint; what it asks for in so many words and cannot have is
refused, never bent.

None of them changes what `no_subscribers` does. The reason codes that AWS IoT Core documents
(…/iot/latest/developerguide/mqtt.html) have no 0x10, and Event Grid's pages name none; IoT Hub speaks 3.1.1, which has
no codes. Should one of them answer so after all while its rules route the message on, nothing is lost: batches are
kept, and the finding says to set "accept".

Limits: it knows what the endpoints' documentation says, not quotas of an account.
Failure: none; what is wrong is yielded as key and text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote

from agent.config.priorities import Priority
from agent.units import Size

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from agent.config import Config, MqttConfig
    from agent.uplink.options import Version

SHARE = 0.9
"""Of a rate that an endpoint allows, how much is used: its clock is not ours, and status messages count as well."""
AROUND_BYTES = 576
"""Of a PUBLISH beside its payload, at most: header, the longest topic it takes, message properties."""


@dataclass(frozen=True, slots=True)
class Topics:
    """Where messages go; {client} stands for the client id, URL-encoded, {vehicle} for the vehicle's."""

    batch: str
    catalog: str
    status: str


@dataclass(frozen=True, slots=True)
class Profile:
    """One kind of endpoint; None and empty values where it asks for nothing.

    source             the document that the limits are from
    versions           the MQTT versions that it speaks, the better one first
    tls                it speaks nothing else
    username           made of {host} and {client}, where the configuration names none
    username_form      what a user name has to look like
    topics             the only ones there are
    retained           a message may be published as retained
    retained_bytes_max of a whole PUBLISH that is
    credentials        one of these keys has to be set
    keepalive_s_max    seconds
    message_bytes_max  of a whole PUBLISH
    batch_bytes_max    of a batch's payload, where less than `message_bytes_max` gets through
    in_flight_max      publishes that wait for their acknowledgement
    in_flight_bytes_max
    publishes_per_s, bytes_per_s   on one connection
    reconnect_least_s  seconds between two connections of one client
    client_id_form     what a client id has to look like, and that in words
    topic_bytes_max, topic_slashes_max   `exempt` of a topic does not count
    alpn               the TLS protocol name to ask for, by port
    closes_over        what it closes the connection over without saying so
    """

    name: str
    source: str = ""
    versions: tuple[Version, ...] = ("5", "3.1.1")
    tls: bool = False
    username: str = ""
    username_form: str = ""
    topics: Topics | None = None
    retained: bool = True
    retained_bytes_max: int | None = None
    credentials: tuple[str, ...] = ()
    keepalive_s_max: int | None = None
    message_bytes_max: int | None = None
    batch_bytes_max: Size | None = None
    in_flight_max: int | None = None
    in_flight_bytes_max: int | None = None
    publishes_per_s: float | None = None
    reconnect_least_s: float = 0.0
    bytes_per_s: float | None = None
    client_id_form: tuple[str, str] | None = None
    topic_bytes_max: int | None = None
    topic_slashes_max: int | None = None
    exempt: str = ""
    alpn: Mapping[int, str] = field(default_factory=dict)
    closes_over: str = ""

    def client_name(self, mqtt: MqttConfig) -> str | None:
        """The user name to log in with."""
        if mqtt.username is not None or not self.username:
            return mqtt.username
        return self.username.format(host=mqtt.host, client=mqtt.client_id)

    def topics_of(self, mqtt: MqttConfig) -> Topics:
        """Where messages go; {vehicle} is left in."""
        if self.topics is None:
            return Topics(mqtt.topic_batch, mqtt.topic_catalog, mqtt.topic_status)
        client = quote(mqtt.client_id or "", safe="")
        batch, catalog, status = (
            topic.replace("{client}", client) for topic in (self.topics.batch, self.topics.catalog, self.topics.status)
        )
        return Topics(batch, catalog, status if mqtt.topic_status else "")

    def window_bytes(self, mqtt: MqttConfig) -> int:
        """Payload bytes that may be in flight, room left for what is around each payload, and for a status."""
        if self.in_flight_bytes_max is None:
            return mqtt.window_bytes
        return min(mqtt.window_bytes, self.in_flight_bytes_max - (mqtt.window_batches + 1) * AROUND_BYTES)

    def version_of(self, mqtt: MqttConfig) -> Version:
        """The MQTT version to speak: nobody has to find out what is written in the endpoint's documentation."""
        return self.versions[0] if mqtt.version == "auto" and self.source else mqtt.version

    def hides_refusals(self, version: str) -> bool:
        """Whether it may acknowledge what it does not take: in 3.1.1 it has to, or to close the connection over it."""
        return version == "3.1.1" and not self.closes_over


_EVENTS = "devices/{client}/messages/events/kind="
"""The topic ends in a property bag, URL-encoded: what it says becomes application properties of the message."""
LONGEST_PRIORITY = max(map(str, Priority), key=len)

GENERIC = Profile("generic")
AZURE_IOT_HUB = Profile(
    "azure-iot-hub",
    source="learn.microsoft.com/azure/iot/iot-mqtt-connect-to-iot-hub, …/iot-hub/iot-hub-devguide-quotas-throttling",
    versions=("3.1.1",),
    tls=True,
    username="{host}/{client}/?api-version=2021-04-12",
    username_form=r"[^/]+/{client}/\?api-version=\S+",
    topics=Topics(f"{_EVENTS}batch&class={{class}}", f"{_EVENTS}catalog", f"{_EVENTS}status"),
    retained=False,  # it would only add a property, mqtt-retain
    credentials=("certificate", "password_file"),
    keepalive_s_max=1177,
    message_bytes_max=256_000,
    client_id_form=(
        r"[A-Za-z0-9\-.%_*?!(),:=@$']{1,128}",
        "a device id: 1 to 128 letters, digits and - . % _ * ? ! ( ) , : = @ $ '",
    ),
    closes_over="a wrong user name, topic or certificate, a second connection with the same device id, a message of "
    "more than 256 KB, its throttling: see the hub's logs, category Connections",
)
AZURE_EVENT_GRID = Profile(
    "azure-event-grid",
    source="learn.microsoft.com/azure/event-grid/mqtt-support, …/event-grid/quotas-limits, …/event-grid/mqtt-retain",
    tls=True,
    retained_bytes_max=64_000,
    credentials=("certificate",),
    keepalive_s_max=1160,
    message_bytes_max=512 << 10,
    batch_bytes_max=Size.parse("60KiB"),
    in_flight_max=1000,
    in_flight_bytes_max=64_000,
    publishes_per_s=1000.0,
    bytes_per_s=1_000_000.0,
    client_id_form=(r".{1,128}", "1 to 128 characters"),
    topic_bytes_max=256,
    topic_slashes_max=14,
    closes_over="a topic outside the client's topic spaces, a retained message where the namespace is from before it "
    "kept them (update it, or set mqtt.retain = false), more than 64 KB in flight, more than 1 MB/s: see the "
    "namespace's diagnostic logs",
)
AWS_IOT_CORE = Profile(
    "aws-iot-core",
    source="docs.aws.amazon.com/general/latest/gr/iot-core.html, …/iot/latest/developerguide/protocols.html",
    tls=True,
    credentials=("certificate",),
    keepalive_s_max=1200,
    message_bytes_max=128 << 10,
    in_flight_max=100,
    publishes_per_s=100.0,
    bytes_per_s=512_000.0,
    reconnect_least_s=1.0,  # CONNECT requests a second and client id: 1
    client_id_form=(r"[^$].*", "a text that does not begin with $, of up to 128 bytes"),
    topic_bytes_max=256,
    topic_slashes_max=7,
    exempt=r"\$aws/rules/[^/]+/",
    alpn={443: "x-amzn-mqtt-ca"},
    closes_over="what the policy of the certificate does not allow (iot:Connect, iot:Publish, iot:RetainPublish), a "
    "second connection with the same client id: see AWSIotLogsV2 in CloudWatch",
)
PROFILES = {profile.name: profile for profile in (GENERIC, AZURE_IOT_HUB, AZURE_EVENT_GRID, AWS_IOT_CORE)}

_TOPIC_KEYS = ("topic_batch", "topic_catalog", "topic_status")
_CLIENT_ID_BYTES = 128


def violations(config: Config) -> Iterator[tuple[str, str]]:
    """Key and text for everything that the endpoint of this configuration would refuse."""
    mqtt = config.mqtt
    if mqtt is None:
        return
    profile = PROFILES[mqtt.profile]
    yield from _connection_violations(profile, mqtt)
    yield from _topic_violations(profile, mqtt, config.vehicle.id)
    yield from _size_violations(profile, mqtt, config.batch.max_bytes)
    if mqtt.cloud_events and profile.version_of(mqtt) == "3.1.1":
        yield "mqtt.cloud_events", f"true needs MQTT 5{_spoken(profile)}; accepted: false"


def _connection_violations(profile: Profile, mqtt: MqttConfig) -> Iterator[tuple[str, str]]:
    if profile.tls and not mqtt.tls:
        yield "mqtt.broker", f'"{mqtt.broker}" is not encrypted; accepted by {profile.name}: mqtts://…'
    if mqtt.version not in ("auto", *profile.versions):
        yield "mqtt.version", f'"{mqtt.version}" is not spoken by {profile.name}; accepted: {_any(profile.versions)}'
    if profile.keepalive_s_max is not None and mqtt.keepalive.seconds > profile.keepalive_s_max:
        yield (
            "mqtt.keepalive",
            f'"{mqtt.keepalive}" is too long; accepted by {profile.name}: up to "{profile.keepalive_s_max}s"',
        )
    client = mqtt.client_id or ""
    form = profile.client_id_form
    if form is not None and not (re.fullmatch(form[0], client) and len(client.encode()) <= _CLIENT_ID_BYTES):
        yield "mqtt.client_id", f'"{client}" is no client id for {profile.name}; accepted: {form[1]}'
    shape = profile.username_form.replace("{client}", re.escape(client))
    if shape and not re.fullmatch(shape, profile.client_name(mqtt) or ""):
        accepted = profile.username.format(host=mqtt.host, client=client)
        yield "mqtt.username", f'"{mqtt.username}" is none for {profile.name}; accepted: none at all, or "{accepted}"'
    if profile.credentials and all(getattr(mqtt, key) is None for key in profile.credentials):
        yield f"mqtt.{profile.credentials[0]}", f"missing; required by {profile.name}: {_any(profile.credentials)}"


def _is_default(mqtt: MqttConfig, key: str) -> bool:
    return bool(getattr(mqtt, key) == getattr(type(mqtt)(broker=mqtt.broker), key))


def _topic_violations(profile: Profile, mqtt: MqttConfig, vehicle: str) -> Iterator[tuple[str, str]]:
    for key in _TOPIC_KEYS:
        topic = getattr(mqtt, key).replace("{vehicle}", vehicle).replace("{class}", LONGEST_PRIORITY)
        where = f"mqtt.{key}"
        if profile.topics is not None:
            if topic and not _is_default(mqtt, key):
                yield where, f'"{topic}" has no effect: {profile.name} has topics of its own; accepted: leave it out'
            continue
        counted = re.sub(f"^{profile.exempt}", "", topic) if profile.exempt else topic
        size, slashes = len(counted.encode()), counted.count("/")
        if profile.topic_bytes_max is not None and size > profile.topic_bytes_max:
            yield where, f"{size} bytes are too long; accepted by {profile.name}: up to {profile.topic_bytes_max}"
        if profile.topic_slashes_max is not None and slashes > profile.topic_slashes_max:
            yield (
                where,
                f'"{topic}" has {slashes} slashes; accepted by {profile.name}: up to {profile.topic_slashes_max}',
            )
        if profile.source and counted.startswith("$"):
            yield where, f'"{topic}" begins with $, which {profile.name} keeps for itself; accepted: any other'


def _size_violations(profile: Profile, mqtt: MqttConfig, batch_bytes: Size) -> Iterator[tuple[str, str]]:
    most = profile.batch_bytes_max
    if most is not None and batch_bytes > most:
        yield "batch.max_bytes", f'"{batch_bytes}" is too large; accepted by {profile.name}: up to "{most}"'
    count = profile.in_flight_max
    if count is not None and mqtt.window_batches > count:
        yield "mqtt.window_batches", f"{mqtt.window_batches} are too many; accepted by {profile.name}: up to {count}"
    size = profile.in_flight_bytes_max
    if size is not None and mqtt.window_bytes > size and not _is_default(mqtt, "window_bytes"):
        yield "mqtt.window_bytes", f'"{mqtt.window_bytes}" is too much; accepted by {profile.name}: up to "{size}B"'


def _spoken(profile: Profile) -> str:
    return f", and {profile.name} speaks {_any(profile.versions)}" if profile.source else ""


def _any(words: tuple[str, ...]) -> str:
    return " or ".join(words)
