# SPDX-License-Identifier: Apache-2.0
"""A thousand starts, each killed at a random moment: the spool stays sound, no start is slower, nothing grows.

A service manager whose agent cannot live starts it again and again, for hours. CANFERRY_RESTARTS says how often
(1,000 unless set).
"""

from __future__ import annotations

import asyncio
import json
import os
import random
from typing import TYPE_CHECKING, Any

import pytest

from agent.receiver.batch_receiver import Verdict
from tests.faults.whole import CONFIG, VEHICLE, agent, cloud
from tests.support.mosquitto import free_port, running
from tests.support.processes import spawn

if TYPE_CHECKING:
    from pathlib import Path

RESTARTS = int(os.environ.get("CANFERRY_RESTARTS", "1000"))
LIMIT = 2 << 20
OTHERS_BYTES = 1 << 20
"""The catalogs, the definitions, and the folders themselves."""
FILES_MAX = 24
"""Eight segments, a journal, states, catalogs and definitions, and the folders that hold them."""
SLOWER_MAX = 2.0
SEED = random.SystemRandom().randrange(1 << 32)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300 + 5 * RESTARTS)]


async def test_a_thousand_quick_restarts_leave_a_sound_spool_and_nothing_grows(tmp_path: Path) -> None:
    starts, log = await restart_often(tmp_path)
    measured = [start["cpu_s"] for start in starts if start["measured"]]
    half = len(measured) // 2
    first_s, last_s = min(measured[:half]), min(measured[half:])  # no pause of the machine makes these longer
    troubles = {line["event"] for line in log}
    async with running(tmp_path / "broker") as broker, cloud(tmp_path / "out", broker.port) as inbox:
        async with agent(tmp_path, broker.port, limit="2MiB") as car:
            await car.until(lambda link: link.connected)
            await car.end()
            sealed = car.counters.batches
        while inbox.counts[Verdict.BATCH] < car.link.acknowledged_batches:
            await asyncio.sleep(0.02)
        gaps = inbox.report()
    print(
        f"seed {SEED}: {len(starts)} starts, {sum(start['ready'] for start in starts)} of them ready when killed; "
        f"processor time of a start {first_s * 1e3:.0f} ms at first, {last_s * 1e3:.0f} ms in the end; "
        f"{starts[-1]['files']} files, {max(start['bytes'] for start in starts) >> 10} KiB at most; "
        f"{inbox.counts[Verdict.BATCH]} batches arrived, {inbox.counts[Verdict.DUPLICATE]} twice; "
        f"{len(gaps)} gaps: {sorted({gap.kind for gap in gaps})}; said: {sorted(troubles)}"
    )
    assert not troubles & {"record_corrupt", "state_unreadable", "recovery_failed", "stage_stalled"}
    assert {gap.kind for gap in gaps} <= {"interrupted", "evicted"}
    assert inbox.counts[Verdict.BATCH] > sealed, "what the killed ones had stored has arrived"
    assert max(start["bytes"] for start in starts) <= LIMIT + OTHERS_BYTES
    assert max(start["files"] for start in starts) <= FILES_MAX
    assert last_s <= first_s * SLOWER_MAX


async def restart_often(folder: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What each start came to, and what all of them have said; nobody listens at the broker's port."""
    config, out, log = folder / "agent.toml", folder / "starts.jsonl", folder / "starts.log"
    settings = {"spool": folder / "spool", "port": free_port(), "limit": "2MiB", "grace": "10s", "vehicle": VEHICLE}
    config.write_text(CONFIG.format(**settings, mqtt="", buses=""))
    process = await spawn("-m", "tests.faults.restarts", str(config), str(RESTARTS), str(SEED), log=log, out=out)
    assert await process.wait() == 0, log.read_text()[-2000:]
    starts = [json.loads(line) for line in out.read_text().splitlines()]
    said = [line for line in log.read_text().splitlines() if line.startswith("{") and line.endswith("}")]
    return starts, [json.loads(line) for line in said]
