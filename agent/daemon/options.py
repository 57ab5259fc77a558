# SPDX-License-Identifier: Apache-2.0
"""A configuration as the rooms want it: each gets its own plain options, and none knows the file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.config.priorities import Priority
from agent.pipeline.open_batch import SealLimits
from agent.pipeline.stream import StreamSettings
from agent.uplink.options import MqttOptions, SenderOptions
from agent.uplink.profiles import PROFILES, SHARE
from agent.uplink.status import status_payload

if TYPE_CHECKING:
    from agent.config import Config, DataPlanConfig
    from agent.uplink.cellular.budget import Plan

_TURN_MARGIN_S = 60.0
CRITICAL_SHARE = 50
"""One part in so many of a data plan is kept for critical batches, unless configured."""


def stream_settings(config: Config, priority: Priority) -> StreamSettings:
    """How the configuration wants the batches of a priority to be made."""
    return StreamSettings(
        vehicle=config.vehicle.id,
        resolution_ns=config.batch.time_resolution,
        level=config.batch.compression_level,
        limits=SealLimits(config.batch.interval, config.batch.max_bytes),
        seals_each_block=priority is Priority.CRITICAL,
    )


def mqtt_options(config: Config, stream: str = "") -> MqttOptions:
    """The configuration's broker, as the uplink wants it; `stream` is what the last will tells."""
    mqtt = config.mqtt
    assert mqtt is not None
    profile = PROFILES[mqtt.profile]
    status = profile.topics_of(mqtt).status
    return MqttOptions(
        host=mqtt.host,
        port=mqtt.port,
        tls=mqtt.tls,
        client_id=mqtt.client_id or config.vehicle.id,
        version=profile.version_of(mqtt),
        username=profile.client_name(mqtt),
        password_file=mqtt.password_file,
        ca=mqtt.ca,
        certificate=mqtt.certificate,
        key=mqtt.key,
        keepalive_s=max(1, round(mqtt.keepalive.seconds)),
        connect_timeout_s=mqtt.connect_timeout.seconds,
        will_topic=config.topic(status),
        will_payload=status_payload(online=False, stream=stream),
        retain=profile.retained and mqtt.retain,
        retained_bytes_max=profile.retained_bytes_max,
        no_subscribers=mqtt.no_subscribers,
        message_bytes_max=profile.message_bytes_max,
        congestion=mqtt.congestion,
        alpn=profile.alpn.get(mqtt.port, ""),
    )


def data_plan(plan: DataPlanConfig) -> Plan:
    """The configuration's data plan, as the cellular room wants it."""
    from agent.uplink.cellular.budget import Plan

    critical = plan.per_month // CRITICAL_SHARE if plan.critical_per_month is None else plan.critical_per_month
    return Plan(plan.per_month, critical, plan.per_day, plan.roaming_per_month, plan.month_starts_on)


def sender_options(config: Config) -> SenderOptions:
    """The configuration's topics, window and patience, as the uplink wants them."""
    mqtt = config.mqtt
    assert mqtt is not None
    profile = PROFILES[mqtt.profile]
    topics = profile.topics_of(mqtt)
    return SenderOptions(
        vehicle=config.vehicle.id,
        batch=topics.batch,
        catalog=topics.catalog,
        status=topics.status,
        window_batches=mqtt.window_batches,
        window_bytes=profile.window_bytes(mqtt),
        publishes_per_s=profile.publishes_per_s and profile.publishes_per_s * SHARE,
        bytes_per_s=profile.bytes_per_s and profile.bytes_per_s * SHARE,
        cloud_events=mqtt.cloud_events,
        closes_over=profile.closes_over,
        backlog_rate=mqtt.backlog_rate,
        backoff_base_s=mqtt.backoff_base.seconds,
        backoff_max_s=mqtt.backoff_max.seconds,
        backoff_spread_s=mqtt.backoff_spread.seconds,
        reconnect_least_s=profile.reconnect_least_s,
        turn_max_s=2 * mqtt.connect_timeout.seconds + _TURN_MARGIN_S,  # twice: MQTT 5, then 3.1.1
    )
