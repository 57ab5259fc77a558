# SPDX-License-Identifier: Apache-2.0
"""A real car's own checksums: every one is right, and one damaged bit is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.collect.block_view import BlockView
from agent.collect.integrity.protection import protection_violations, protections_of
from agent.collect.integrity.verify import Integrity, IntegrityCounters
from agent.collect.signal_index import SignalIndex
from agent.config.integrity import IntegrityConfig
from agent.decode.decoder import Decoder
from agent.decode.loading import load_databases
from agent.decode.plan import Plan
from agent.sources.logs.logfile import read_log

pytestmark = [pytest.mark.recordings, pytest.mark.slow, pytest.mark.timeout(120)]
DATA = Path(__file__).parents[3] / "shared/data"
TOYOTA = IntegrityConfig(message="*", checksum="CHECKSUM", kind="sum", with_id=True, with_length=True)
DAMAGED = 20_000


def test_every_checksum_of_a_real_drive_is_right_and_a_damaged_bit_is_found() -> None:
    messages = load_databases([("can0", DATA / "rav4_powertrain.dbc")]).messages
    assert not list(protection_violations(messages, [TOYOTA]))
    decoder = Decoder(Plan(("can0",), messages))
    roster = SignalIndex(decoder.plan)
    integrity = Integrity(roster, protections_of(messages, [TOYOTA]))
    seen, damaged = 0, ""
    for block in read_log(DATA / "rav4_highway.log.xz", buses={"can0": 0}, frames_max=1000):
        speed = next(index for index, message in enumerate(messages) if message.name == "SPEED")
        rows = (block.can_id == messages[speed].can_id).nonzero()[0]
        if not damaged and seen + len(block) > DAMAGED and len(rows):
            block.data[rows[0], 2] ^= 0x10
            damaged = "can0.SPEED"
        seen += len(block)
        integrity.verify(BlockView(roster, block, decoder.decode(block).signals, block.time_ns, 0))

    counters = integrity.counters()
    assert sum(each.frames for each in counters.values()) > 10_000
    assert {subject: each.wrong for subject, each in counters.items() if each.wrong} == {damaged: 1}
    assert counters[damaged] == IntegrityCounters(frames=counters[damaged].frames, wrong=1)
