# SPDX-License-Identifier: Apache-2.0
"""How long the demo lasts, when its link is cut, and the configuration of its agent. Pure.

Batches take one second instead of ten, so that there is something to see. The uplink retries twice a second instead of
backing off for minutes. The backlog is sent slowly enough to be watched.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.config import Config, demo_car_dbc
from agent.config.sections import (
    AgentConfig,
    BatchConfig,
    BusConfig,
    MqttConfig,
    SpoolConfig,
    VehicleConfig,
)
from agent.errors import ConfigError
from agent.units import Duration, Rate, Size

if TYPE_CHECKING:
    from pathlib import Path

VEHICLE = "demo-0001"
SECONDS = 20.0
OUTAGE_S = 6.0
SECONDS_MIN, SECONDS_MAX = 2.0, 3600.0
CAR_BYTES_PER_S = 4000
"""About what the simulated car comes to in batches of one second; only the screen and the pace rest on it."""
DRAIN_S_MAX = 4.0
JOURNAL_INTERVAL = Duration.parse("440ms")
"""Blocks come every 0.7 of it, and a batch is whole blocks: three of them are just less than a second."""
GRACE_S = 15


@dataclass(frozen=True, slots=True)
class Scenario:
    """A drive of `seconds` with an outage of `outage_s` in its middle; 0: none."""

    seconds: float = SECONDS
    outage_s: float = OUTAGE_S

    @classmethod
    def of(cls, seconds: float, outage_s: float | None) -> Scenario:
        """Of what the command line says; an outage that is not named fits the drive. Raises ConfigError."""
        if not SECONDS_MIN <= seconds <= SECONDS_MAX:
            raise ConfigError(f"--seconds {seconds:g}: accepted: {SECONDS_MIN:g} to {SECONDS_MAX:g}")
        if outage_s is None:
            return cls(seconds, min(OUTAGE_S, seconds / 3))
        if not 0 <= outage_s < seconds:
            raise ConfigError(
                f"--outage {outage_s:g}: accepted: 0 (none), or more, but less than --seconds {seconds:g}"
            )
        return cls(seconds, outage_s)

    @property
    def cut_at_s(self) -> float:
        """When the outage begins."""
        return (self.seconds - self.outage_s) / 2

    @property
    def backlog_expected_bytes(self) -> float:
        """About what gathers in the outage."""
        return CAR_BYTES_PER_S * (self.outage_s + 1)

    @property
    def backlog_rate(self) -> Rate:
        """Bytes per second that empty the backlog within what is left of the drive, and not in a blink."""
        drain_s = min(DRAIN_S_MAX, max(0.25, (self.seconds - self.cut_at_s - self.outage_s) / 2))
        return Rate(max(CAR_BYTES_PER_S, self.backlog_expected_bytes / drain_s))

    def config(self, folder: Path, port: int) -> Config:
        """The agent's configuration: one simulated bus, a spool in the folder, a broker behind the port."""
        return Config(
            vehicle=VehicleConfig(id=VEHICLE),
            buses=(BusConfig(name="can0", interface="simulator", dbc=(demo_car_dbc(),)),),
            mqtt=MqttConfig(
                broker=f"mqtt://127.0.0.1:{port}",
                version="3.1.1",
                client_id=VEHICLE,
                backlog_rate=self.backlog_rate,
                connect_timeout=Duration.parse("2s"),
                backoff_base=Duration.parse("100ms"),
                backoff_max=Duration.parse("500ms"),
            ),
            batch=BatchConfig(interval=Duration.parse("1s")),
            spool=SpoolConfig(
                path=folder,
                limit=Size.parse("64MiB"),
                segment=Size.parse("256KiB"),
                min_free=Size(0),
                journal_interval=JOURNAL_INTERVAL,
            ),
            agent=AgentConfig(shutdown_grace=Duration(GRACE_S * 10**9), socket=""),
        )
