# SPDX-License-Identifier: Apache-2.0
"""A bad cellular link: how much of it the uplink uses, how old live batches get, how soon its death is noticed.

An hour at 4,000 frames/s of 1.2 bytes are 360 batches of 48 KB, 138 s of a link of 1 Mbit/s. What is sent and waited
for does not depend on how many there are, so a part of them is sent.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from typing import TYPE_CHECKING

import pytest

from agent.uplink.backoff import Backoff
from agent.uplink.subscriber import MqttSubscriber
from tests.integration.mosquitto import running
from tests.integration.radio import Radio
from tests.integration.uplinks import options, rig

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.integration.uplinks import Rig

BYTES_PER_S = 125_000
"""1 Mbit/s."""
BATCH_BYTES = 48_000
BACKLOG = 70
SETTLED = 6
"""Batches after which TCP, TLS and the first round trips do not count any more."""
LIVE_BYTES, LIVE_EVERY_S = 2_400, 2.0
"""Of 2,000 frames/s of 0.6 bytes; more often than batches are sealed by default, to be more of them."""
SHARE_MIN = 0.85
LIVE_S_MAX = 15.0
NOTICED_S_MAX = 60.0


async def drive(made: Rig) -> None:
    """Live batches, each with the time at which it was sealed."""
    while True:
        await made.append(f"live {time.monotonic()} ".encode().ljust(LIVE_BYTES))
        await asyncio.sleep(LIVE_EVERY_S)


@pytest.mark.timeout(180)
async def test_a_backlog_takes_the_whole_link_and_live_batches_do_not_wait_for_it(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    ages_s: list[float] = []
    old = 0
    async with (
        running(tmp_path / "broker") as broker,
        Radio(broker.port, bytes_per_s=BYTES_PER_S, delay_s=0.1, loss=0.02) as radio,
        MqttSubscriber(
            options(broker.port, client_id="receiver", will_topic=""), ["canferry/+/batch"], backoff=Backoff()
        ) as received,
    ):
        with rig(tmp_path, options(radio.port)) as made:
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
                        begun, payload, wire = (
                            time.monotonic(),
                            made.sender.state().acknowledged_bytes,
                            radio.wire_bytes,
                        )
                    if old == BACKLOG:
                        break
                took_s = time.monotonic() - begun
                share = (radio.wire_bytes - wire) / took_s / BYTES_PER_S
                payload_share = (made.sender.state().acknowledged_bytes - payload) / took_s / BYTES_PER_S
                driving.cancel()
    record_property(
        "figures",
        f"{share:.0%} of the link is used for {took_s:.0f} s, {payload_share:.0%} for payload; "
        f"live batches {sorted(ages_s)[len(ages_s) // 2]:.1f} s old, at most {max(ages_s):.1f} s",
    )
    assert share >= SHARE_MIN
    assert len(ages_s) >= took_s / LIVE_EVERY_S / 2
    assert max(ages_s) < LIVE_S_MAX


@pytest.mark.timeout(180)
async def test_a_link_that_dies_without_a_word_is_noticed_within_a_minute(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    async with (
        running(tmp_path / "broker") as broker,
        Radio(broker.port, bytes_per_s=BYTES_PER_S, delay_s=0.1, loss=0.02) as radio,
    ):
        with (
            rig(tmp_path / "idle", options(radio.port, client_id="idle")) as idle,
            rig(tmp_path / "busy", options(radio.port, client_id="busy")) as busy,
        ):
            async with idle.running(), busy.running():
                for made in (idle, busy):
                    await made.append(b"first")
                    await made.emptied()
                for _ in range(4):
                    await busy.append(os.urandom(BATCH_BYTES))
                while not busy.sender.state().in_flight_batches:
                    await asyncio.sleep(0.01)
                radio.dead = True
                begun = time.monotonic()
                noticed_s = await asyncio.gather(*(noticed(made, begun) for made in (busy, idle)))
                assert len(await busy.stored()) == 4
    record_property("figures", "noticed after {:.0f} s while sending, {:.0f} s on an idle link".format(*noticed_s))
    assert max(noticed_s) < NOTICED_S_MAX


async def noticed(made: Rig, begun: float) -> float:
    """Seconds until the sender knows."""
    for wait_s in itertools.repeat(0.05):
        if not made.sender.state().connected:
            break
        await asyncio.sleep(wait_s)
    return time.monotonic() - begun
