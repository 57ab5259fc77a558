# SPDX-License-Identifier: Apache-2.0
"""A configuration and the catalog of its DBC files as they travel to whoever looks."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from agent.live.protocol import BusDefinition, Definitions, ProtectionDefinition

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agent.config import Config
    from agent.model import MessageDefinition


def define(config: Config, messages: Sequence[MessageDefinition], catalog: bytes) -> Definitions:
    """What buses, DBC files and rules say; `messages` as they were loaded, `catalog` its bytes."""
    return Definitions(
        vehicle=config.vehicle.id,
        buses=tuple(
            BusDefinition(
                name=bus.name,
                interface=bus.interface,
                channel=str(bus.channel),
                dbc=tuple(map(str, bus.dbc)),
                keep_unknown=bus.keep_unknown,
            )
            for bus in config.buses
        ),
        catalog=base64.b64encode(catalog).decode(),
        collect=config.collect,
        triggers=config.triggers,
        protections=tuple(_protections(config, messages)),
    )


def _protections(config: Config, messages: Sequence[MessageDefinition]) -> Iterator[ProtectionDefinition]:
    from agent.collect.integrity.protection import protections_of

    for index, protection in protections_of(messages, config.integrity).items():
        signals = messages[index].signals
        yield ProtectionDefinition(
            message=index,
            counter=signals[protection.counter].name if protection.counter >= 0 else "",
            counter_max=protection.counter_max,
            checksum=signals[protection.checksum].name if protection.checksum >= 0 else "",
            kind=(protection.config.kind or "") if protection.checksum >= 0 else "",
            drop=protection.config.drop,
        )
