# SPDX-License-Identifier: Apache-2.0
"""Hours in minutes: an event loop, and a clock, on which time passes `speed` times as fast as elsewhere.

All that asyncio waits for (pauses, time-outs, keep-alives) passes sooner; what is waited for from outside, such as an
answer over a socket or a thread, comes when it comes. With `pass_fast` the same holds for whoever asks
`time.monotonic`, and for the MQTT library's keep-alive.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from typing import TYPE_CHECKING

import paho.mqtt.client

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest


class _FastSelector(selectors.DefaultSelector):
    """Waits for files a fraction of the time that it is told."""

    speed = 1.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        return super().select(timeout / self.speed if timeout is not None and timeout > 0 else timeout)


class FastLoop(asyncio.SelectorEventLoop):
    """Its `time` runs `speed` times as fast."""

    def __init__(self, speed: float) -> None:
        selector = _FastSelector()
        selector.speed = speed
        self._now_s = _faster(speed)
        super().__init__(selector)

    def time(self) -> float:
        """Seconds."""
        return self._now_s()


def _faster(speed: float) -> Callable[[], float]:
    really = time.monotonic
    begun_s = really()
    return lambda: begun_s + (really() - begun_s) * speed


def pass_fast(monkeypatch: pytest.MonkeyPatch, speed: float) -> None:
    """For whoever asks `time.monotonic` from now on; what was made before goes by the old one."""
    fast = _faster(speed)
    monkeypatch.setattr(time, "monotonic", fast)
    monkeypatch.setattr(paho.mqtt.client, "time_func", fast)


class FastClock:
    """The unit's clock, trusted, from now on `speed` times as fast."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._wall_ns, self._monotonic_ns = time.time_ns(), time.monotonic_ns()

    def wall_ns(self) -> int:
        return self._wall_ns + self._passed_ns()

    def monotonic_ns(self) -> int:
        return self._monotonic_ns + self._passed_ns()

    def boot_id(self) -> str:
        return "f" * 32

    def wall_trusted(self) -> bool:
        return True

    def _passed_ns(self) -> int:
        return int((time.monotonic_ns() - self._monotonic_ns) * self._speed)
