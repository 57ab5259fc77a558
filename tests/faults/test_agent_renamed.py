# SPDX-License-Identifier: Apache-2.0
"""The vehicle's id is changed while batches wait: each arrives as the vehicle's that it was sealed for, or stays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from agent.receiver.batch_receiver import Verdict
from tests.faults.whole import agent, arrived, cloud
from tests.support.mosquitto import free_port, running

if TYPE_CHECKING:
    from pathlib import Path

    from agent.pipeline.packer import PackerCounters

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

ONLY_CAR_2 = "topic read canferry/#\ntopic write canferry/car-2/#\n"


async def sealed_as_car_1(folder: Path) -> PackerCounters:
    """A drive without a broker."""
    async with agent(folder, free_port(), grace="0s") as car:
        await car.batches(5)
    return car.counters


async def test_a_backlog_arrives_under_its_own_vehicle_after_a_start_with_another_id(tmp_path: Path) -> None:
    before, out = await sealed_as_car_1(tmp_path), tmp_path / "out"
    async with running(tmp_path / "broker") as broker, cloud(out, broker.port) as inbox:
        async with agent(tmp_path, broker.port, vehicle="car-2") as car:
            await car.until(lambda link: link.acknowledged_batches > before.batches)
            await car.end()
        await arrived(out / "car-1", before)
        await arrived(out / "car-2", car.counters)
    assert inbox.counts[Verdict.REJECTED] == 0
    assert sorted(path.name for path in out.glob("car-1/*/*.batch.zst"))[0] == "000000000000.batch.zst"


async def test_a_backlog_that_the_broker_does_not_take_stays_until_the_id_is_set_back(tmp_path: Path) -> None:
    before, out = await sealed_as_car_1(tmp_path), tmp_path / "out"
    async with running(tmp_path / "broker", acl=ONLY_CAR_2) as broker:
        with capture_logs() as logs:
            accepting = 'no_subscribers = "accept"'
            async with agent(tmp_path, broker.port, vehicle="car-2", mqtt=accepting) as car:
                await car.until(lambda link: link.acknowledged_batches > 5)
                await car.end()
    assert [(line["vehicle"], line["batches"]) for line in logs if line["event"] == "batches_held"] == [
        ("car-1", before.batches)
    ]
    async with running(tmp_path / "broker") as broker, cloud(out, broker.port) as inbox:
        async with agent(tmp_path, broker.port) as car:
            await car.until(lambda link: link.acknowledged_batches > before.batches)
            await car.end()
        await arrived(out / "car-1", before, car.counters)
    assert inbox.counts[Verdict.REJECTED] == 0
