# SPDX-License-Identifier: Apache-2.0
"""A bad cellular link: how much of it the uplink uses, how old live batches get, how soon its death is noticed.

An hour at 4,000 frames/s of 1.13 bytes are 340 batches of 48 KB, 135 s of a link of 1 Mbit/s. What is sent and waited
for does not depend on how many there are, so `BACKLOG` of them are sent.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING

import pytest

from agent.uplink.backoff import Backoff
from agent.uplink.mqtt_subscriber import MqttSubscriber
from tests.headunit.netem.radio import RADIO, WIRE, Radio
from tests.support.mosquitto import running
from tests.support.uplinks import options, rig

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from agent.uplink.options import MqttOptions
    from tests.support.uplinks import Rig

BYTES_PER_S = 125_000
"""1 Mbit/s."""
BAD = "delay 100ms loss 2% rate 1mbit"
WORSE = "delay 100ms loss 30% rate 1mbit"
BATCH_BYTES = 48_000
BACKLOG = 70
CONGESTION = "bbr"
FEW = 10
SETTLED = 6
"""Batches after which TCP and the first round trips do not count any more."""
LIVE_BYTES, LIVE_EVERY_S = 2_400, 2.0
"""Of 2,000 frames/s of 0.6 bytes; more often than batches are sealed by default, to be more of them."""
SHARE_MIN = 0.85
LIVE_S_MAX = 15.0
NOTICED_S_MAX = 60.0


@pytest.fixture
def radio() -> Iterator[Radio]:
    with Radio() as made:
        yield made


async def drive(made: Rig) -> None:
    """Live batches, each with the time at which it was sealed."""
    while True:
        await made.append(f"live {time.monotonic()} ".encode().ljust(LIVE_BYTES))
        await asyncio.sleep(LIVE_EVERY_S)


def over(port: int, client_id: str = "car") -> MqttOptions:
    """The radio."""
    return options(port, host=RADIO, congestion=CONGESTION, client_id=client_id)


async def test_a_backlog_takes_the_whole_link_and_live_batches_do_not_wait_for_it(tmp_path: Path, radio: Radio) -> None:
    ages_s: list[float] = []
    old = 0
    radio.degrade(BAD)
    async with (
        running(tmp_path / "broker", host=WIRE, address="0.0.0.0", within=radio.within) as broker,
        MqttSubscriber(
            options(broker.port, host=WIRE, client_id="receiver", will_topic=""),
            ["canferry/+/batch"],
            backoff=Backoff(),
        ) as received,
    ):
        with rig(tmp_path, over(broker.port)) as made:
            for _ in range(BACKLOG):
                await made.append(os.urandom(BATCH_BYTES))
            async with made.running(), asyncio.TaskGroup() as tasks:
                while not made.sender.state().connected:
                    await asyncio.sleep(0.01)
                driving = tasks.create_task(drive(made))
                async for message in received:
                    message.acknowledge()
                    if message.payload.startswith(b"live "):
                        ages_s.append(time.monotonic() - float(message.payload.split()[1]))
                        continue
                    old += 1
                    if old == SETTLED:
                        begun, lives, sent = time.monotonic(), len(ages_s), radio.sent_bytes()
                    if old == BACKLOG:
                        break
                took_s = time.monotonic() - begun
                wire = (radio.sent_bytes() - sent) / took_s / BYTES_PER_S
                payload = (BACKLOG - SETTLED) * BATCH_BYTES + (len(ages_s) - lives) * LIVE_BYTES
                share = payload / took_s / BYTES_PER_S
                driving.cancel()
    print(
        f"{share:.0%} of the link carries payload for {took_s:.0f} s, {wire:.0%} of it is sent; "
        f"live batches {sorted(ages_s)[len(ages_s) // 2]:.1f} s old, at most {max(ages_s):.1f} s"
    )
    assert share >= SHARE_MIN
    assert len(ages_s) >= took_s / LIVE_EVERY_S / 2
    assert max(ages_s) < LIVE_S_MAX


async def test_a_link_that_loses_a_third_still_gets_batches_through(tmp_path: Path, radio: Radio) -> None:
    radio.degrade(WORSE)
    async with running(tmp_path / "broker", host=WIRE, address="0.0.0.0", within=radio.within) as broker:
        with rig(tmp_path, over(broker.port)) as made:
            for _ in range(FEW):
                await made.append(os.urandom(BATCH_BYTES))
            begun = time.monotonic()
            async with made.running():
                await made.emptied()
            share = FEW * BATCH_BYTES / (time.monotonic() - begun) / BYTES_PER_S
            links = made.sender.state().links
    print(f"at 30 % loss each way, {share:.0%} of the link carries payload, over {links} connections")


async def test_a_link_that_dies_without_a_word_is_noticed_within_a_minute(tmp_path: Path, radio: Radio) -> None:
    radio.degrade(BAD)
    async with running(tmp_path / "broker", host=WIRE, address="0.0.0.0", within=radio.within) as broker:
        with (
            rig(tmp_path / "idle", over(broker.port, "idle")) as idle,
            rig(tmp_path / "busy", over(broker.port, "busy")) as busy,
        ):
            async with idle.running(), busy.running():
                for made in (idle, busy):
                    await made.append(b"first")
                    await made.emptied()
                for _ in range(4):
                    await busy.append(os.urandom(BATCH_BYTES))
                while not busy.sender.state().in_flight_batches:
                    await asyncio.sleep(0.01)
                radio.degrade("loss 100%")
                begun = time.monotonic()
                noticed_s = await asyncio.gather(*(noticed(made, begun) for made in (busy, idle)))
                assert len(await busy.stored()) == 4
    print("noticed after {:.0f} s while sending, {:.0f} s on an idle link".format(*noticed_s))
    assert max(noticed_s) < NOTICED_S_MAX


async def noticed(made: Rig, begun: float) -> float:
    """Seconds until the sender knows."""
    while made.sender.state().connected:
        await asyncio.sleep(0.05)
    return time.monotonic() - begun
