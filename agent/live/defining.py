# SPDX-License-Identifier: Apache-2.0
"""A configuration and the catalog of its DBC files as they travel to whoever looks."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from agent.live.protocol import BusDefinition, Definitions

if TYPE_CHECKING:
    from agent.config import Config


def define(config: Config, catalog: bytes) -> Definitions:
    """What buses, DBC files and rules say; `catalog` are its bytes."""
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
    )
