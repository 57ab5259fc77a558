# SPDX-License-Identifier: Apache-2.0
"""What a receiver is told of the links it loses: why, perhaps over what, and that they are back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import pytest
from structlog.testing import capture_logs

from agent.uplink import mqtt_subscriber
from agent.uplink.backoff import Backoff
from agent.uplink.mqtt_subscriber import MqttSubscriber
from agent.uplink.options import MqttOptions
from agent.uplink.transport import LinkLoss, Received, Trouble

if TYPE_CHECKING:
    from collections.abc import Iterator

MESSAGE = Received("canferry/car-1/batch", b"", retain=False, acknowledge=lambda: None)
CLOSED = LinkLoss(Trouble.DROPPED, "the other end closed the connection", by_peer=True)
SILENT = LinkLoss(Trouble.DROPPED, "no answer to a ping")
TAKEN = LinkLoss(Trouble.TAKEN_OVER, "the broker disconnected: session taken over", 0x8E, by_peer=True)
BUSY = LinkLoss(Trouble.BUSY, "the broker disconnected: quota exceeded", 0x97, by_peer=True)
HINT = "another client connects with the same client id: give each receiver its own, with --client-id"


class Links:
    """A connector and its connections: each ends with the next loss, the last one has a message."""

    session_present = True

    def __init__(self, losses: list[LinkLoss]) -> None:
        self._losses = losses

    async def connect(self) -> Self:
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def subscribe_all(self, filters: list[str], qos: int) -> None:
        pass

    async def receive(self) -> Received | None:
        return None if self._losses else MESSAGE

    async def lost(self) -> LinkLoss:
        return self._losses.pop(0)


async def told(losses: list[LinkLoss]) -> Iterator[dict[str, Any]]:
    """What is logged until a message comes, over so many links."""
    source = MqttSubscriber(MqttOptions("localhost", 1883), ["#"], backoff=Backoff(base_s=0.0))
    source._connector = Links(losses)  # type: ignore[assignment]
    with capture_logs() as logs:
        async with source:
            assert await anext(source) is MESSAGE
    return map(dict, logs)


async def test_a_link_that_is_back_is_told_as_loud_as_its_loss() -> None:
    assert [(line["event"], line["log_level"]) for line in await told([SILENT])] == [
        ("link_up", "info"),
        ("link_lost", "warning"),
        ("link_up", "warning"),
    ]


@pytest.mark.parametrize(
    ("losses", "hints"),
    [
        ([TAKEN], [HINT]),
        ([CLOSED] * 4, [None, None, f"it may be that {HINT}", f"it may be that {HINT}"]),
        ([CLOSED, CLOSED, SILENT, CLOSED], [None] * 4),
        ([CLOSED, CLOSED, BUSY, CLOSED], [None] * 4),
    ],
)
async def test_who_shares_its_id_is_told(losses: list[LinkLoss], hints: list[str | None]) -> None:
    lines = await told(list(losses))
    assert [line.get("hint") for line in lines if line["event"] == "link_lost"] == hints


async def test_links_that_have_lasted_are_no_fight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt_subscriber, "SOON_S", 0.0)
    assert not any("hint" in line for line in await told([CLOSED] * 5))
