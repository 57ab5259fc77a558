# SPDX-License-Identifier: Apache-2.0
"""What each kind of endpoint is given, and what it is spared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args, get_type_hints

import pytest

from agent.config import Config, MqttConfig, VehicleConfig
from agent.config.sections import BatchConfig, BusConfig
from agent.daemon.options import mqtt_options, sender_options
from agent.units import Duration, Size
from agent.uplink.profiles import AROUND_BYTES, PROFILES, violations
from agent.uplink.properties import MEDIA_TYPES, MessageProperties, cloud_event

if TYPE_CHECKING:
    from pathlib import Path

HOSTS = {
    "generic": "mqtts://telemetry.example.com",
    "azure-iot-hub": "mqtts://fleet.azure-devices.net",
    "azure-event-grid": "mqtts://fleet.westeurope-1.ts.eventgrid.azure.net",
    "aws-iot-core": "mqtts://example-ats.iot.eu-central-1.amazonaws.com",
}


def configured(profile: str, *, batch: str = "48KiB", vehicle: str = "demo-0001", **changes: Any) -> Config:
    mqtt: dict[str, Any] = {"broker": HOSTS[profile], "profile": profile, "client_id": vehicle}
    if profile != "generic":
        mqtt |= {"certificate": "car.pem", "key": "car.key"}
    return Config(
        vehicle=VehicleConfig(id=vehicle),
        buses=(BusConfig(name="car", interface="simulator"),),
        mqtt=MqttConfig(**{**mqtt, **changes}),
        batch=BatchConfig(max_bytes=Size.parse(batch)),
    )


def test_the_configuration_knows_the_same_profiles() -> None:
    assert set(get_args(get_type_hints(MqttConfig)["profile"])) == set(PROFILES)


@pytest.mark.parametrize("name", PROFILES)
def test_the_smallest_configuration_of_each_endpoint_is_taken(name: str) -> None:
    assert not list(violations(configured(name)))
    assert PROFILES[name].source or name == "generic"


IOT_HUB, EVENT_GRID, AWS = "azure-iot-hub", "azure-event-grid", "aws-iot-core"


@pytest.mark.parametrize(
    ("profile", "changes", "told"),
    [
        (
            IOT_HUB,
            {"broker": "mqtt://hub"},
            'mqtt.broker: "mqtt://hub" is not encrypted; accepted by azure-iot-hub: mqtts://…',
        ),
        (IOT_HUB, {"version": "5"}, 'mqtt.version: "5" is not spoken by azure-iot-hub; accepted: 3.1.1'),
        (IOT_HUB, {"keepalive": "20m"}, 'mqtt.keepalive: "20m" is too long; accepted by azure-iot-hub: up to "1177s"'),
        (IOT_HUB, {"client_id": "a/b"}, 'mqtt.client_id: "a/b" is no client id for azure-iot-hub'),
        (
            IOT_HUB,
            {"username": "joe"},
            'accepted: none at all, or "fleet.azure-devices.net/demo-0001/?api-version=2021-04-12"',
        ),
        (
            IOT_HUB,
            {"topic_batch": "cars/batch"},
            'mqtt.topic_batch: "cars/batch" has no effect: azure-iot-hub has topics',
        ),
        (IOT_HUB, {"cloud_events": True}, "mqtt.cloud_events: true needs MQTT 5, and azure-iot-hub speaks 3.1.1"),
        (
            IOT_HUB,
            {"certificate": None, "key": None},
            "mqtt.certificate: missing; required by azure-iot-hub: certificate or password_file",
        ),
        (EVENT_GRID, {"keepalive": "1161s"}, 'accepted by azure-event-grid: up to "1160s"'),
        (
            EVENT_GRID,
            {"batch": "61KiB"},
            'batch.max_bytes: "61KiB" is too large; accepted by azure-event-grid: up to "60KiB"',
        ),
        (EVENT_GRID, {"window_bytes": "64KiB"}, 'mqtt.window_bytes: "64KiB" is too much; accepted by azure-event-grid'),
        (EVENT_GRID, {"topic_batch": "/".join("a" * 16)}, "has 15 slashes; accepted by azure-event-grid: up to 14"),
        (
            EVENT_GRID,
            {"topic_batch": "{class}" + "a" * 249},
            "mqtt.topic_batch: 257 bytes are too long; accepted by azure",
        ),
        (EVENT_GRID, {"topic_status": "$SYS/x"}, "begins with $, which azure-event-grid keeps for itself"),
        (AWS, {"keepalive": "21m"}, 'mqtt.keepalive: "21m" is too long; accepted by aws-iot-core: up to "1200s"'),
        (AWS, {"client_id": "$car"}, 'mqtt.client_id: "$car" is no client id for aws-iot-core'),
        (AWS, {"client_id": "ä" * 65}, "is no client id for aws-iot-core"),
        (AWS, {"topic_batch": "a/b/c/d/e/f/g/h/i"}, "has 8 slashes; accepted by aws-iot-core: up to 7"),
        (
            AWS,
            {"topic_catalog": "ä" * 129},
            "mqtt.topic_catalog: 258 bytes are too long; accepted by aws-iot-core: up to 256",
        ),
        (AWS, {"topic_batch": "$aws/things/x"}, "begins with $, which aws-iot-core keeps for itself"),
        (AWS, {"certificate": None, "key": None}, "mqtt.certificate: missing; required by aws-iot-core: certificate"),
        (
            "generic",
            {"version": "3.1.1", "cloud_events": True},
            "mqtt.cloud_events: true needs MQTT 5; accepted: false",
        ),
    ],
)
def test_what_an_endpoint_would_refuse_is_told_in_one_line(profile: str, changes: dict[str, Any], told: str) -> None:
    for key, kind in (("keepalive", Duration), ("window_bytes", Size)):
        if key in changes:
            changes[key] = kind.parse(changes[key])
    (only,) = (f"{key}: {text}" for key, text in violations(configured(profile, **changes)))
    assert told in only
    assert "\n" not in only


def test_basic_ingest_does_not_count_its_own_part_of_the_topic() -> None:
    topic = "$aws/rules/" + "r" * 250 + "/a/b/c/d/e/f/g/h"
    assert not list(violations(configured(AWS, topic_batch=topic)))


def test_iot_hub_gets_its_names_and_topics(tmp_path: Path) -> None:
    config = configured(IOT_HUB, client_id="Car 1".replace(" ", "$"))
    options, sending = mqtt_options(config, "normal-1"), sender_options(config)
    assert options.username == "fleet.azure-devices.net/Car$1/?api-version=2021-04-12"
    assert options.version == "3.1.1"
    assert (options.will_topic, options.retain) == ("devices/Car%241/messages/events/kind=status", False)
    assert sending.batch_topic("bulk-3f2a") == "devices/Car%241/messages/events/kind=batch&class=bulk"
    assert sending.topic(sending.catalog) == "devices/Car%241/messages/events/kind=catalog"
    assert options.message_bytes_max == 256_000
    silent = sender_options(configured(IOT_HUB, topic_status=""))
    assert silent.status == ""
    assert mqtt_options(configured(IOT_HUB, topic_status=""), "normal-1").will_topic == ""


def test_a_sas_token_needs_no_user_name_in_the_file() -> None:
    config = configured(IOT_HUB, certificate=None, key=None, password_file="sas")
    assert not list(violations(config))


@pytest.mark.parametrize("batches", [1, 4, 100])
def test_event_grids_window_leaves_room_for_what_is_around_the_payloads(batches: int) -> None:
    sending = sender_options(configured(EVENT_GRID, window_batches=batches))
    assert sending.window_bytes + (batches + 1) * AROUND_BYTES <= 64_000
    assert sending.window_bytes > 0
    largest = PROFILES[EVENT_GRID].batch_bytes_max
    assert largest is not None
    assert largest + 2 * AROUND_BYTES <= 64_000  # it goes alone, whatever the window


def test_aws_asks_for_its_protocol_name_on_443_only() -> None:
    web = configured(AWS, broker=f"{HOSTS[AWS]}:443")
    assert mqtt_options(web, "s").alpn == "x-amzn-mqtt-ca"
    assert mqtt_options(configured(AWS), "s").alpn == ""
    assert sender_options(web).publishes_per_s == 90.0
    assert sender_options(web).bytes_per_s == 460_800.0


def test_the_generic_profile_changes_nothing() -> None:
    config = configured("generic", username="joe", window_bytes=Size.parse("1MiB"))
    options, sending = mqtt_options(config, "s"), sender_options(config)
    assert (options.version, options.username, options.retain, options.alpn) == ("auto", "joe", True, "")
    assert (sending.window_bytes, sending.publishes_per_s, sending.bytes_per_s) == (1 << 20, None, None)
    assert sending.batch == "canferry/{vehicle}/batch"


def test_a_cloud_event_has_what_the_standard_requires_and_costs_what_it_says() -> None:
    properties = cloud_event("batch", "demo-0001", "normal-3f2a/42")
    assert {name for name, value in properties.properties if value} == {"specversion", "id", "source", "type"}
    assert properties.content_type == MEDIA_TYPES["batch"]
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties

    packed = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    packed.ContentType, packed.UserProperty = properties.content_type, list(properties.properties)
    assert properties.size_bytes == len(packed.pack()) - 2  # type: ignore[no-untyped-call]  # its own length
    longest = cloud_event("catalog", "v" * 128, "h" * 32)
    header = 1 + 4 + 2 + 2 + 2 + 3
    assert header + 256 + longest.size_bytes <= AROUND_BYTES
    assert not MessageProperties()


def test_every_field_of_a_profile_is_explained() -> None:
    from agent.uplink.profiles import Profile

    documented = Profile.__doc__ or ""
    fields = set(Profile.__dataclass_fields__) - {"name"}
    assert all(name in documented for name in fields)


def test_event_grid_keeps_what_is_retained_up_to_its_limit_unless_told_not_to() -> None:
    options = mqtt_options(configured(EVENT_GRID), "s")
    assert (options.retain, options.retained_bytes_max) == (True, 64_000)
    assert not mqtt_options(configured(EVENT_GRID, retain=False), "s").retain
    assert not mqtt_options(configured("generic", retain=False), "s").retain


def test_class_in_the_batch_topic_is_that_of_the_stream() -> None:
    sending = sender_options(configured(EVENT_GRID, topic_batch="canferry/{vehicle}/{class}/batch"))
    assert sending.batch_topic("critical-3f2a00") == "canferry/demo-0001/critical/batch"
    assert sending.batch_topic("bulk-1") == "canferry/demo-0001/bulk/batch"
