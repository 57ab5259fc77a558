# SPDX-License-Identifier: Apache-2.0
"""The plain twin of multiplexed frames has their values."""

from __future__ import annotations

from collections import Counter

import numpy as np

from agent.cli.plain_twin import multiplexed_only, plain_twin
from agent.decode.decoder import Decoder
from agent.decode.plan import Plan
from agent.model import FrameBlock, MessageDefinition, SignalDefinition

MODES = tuple(
    SignalDefinition(f"S{n}", 15 + n, 9, little_endian=False, selected_by="MODE", selected_when=((n, n),))
    for n in range(3)
)
MESSAGES = (
    MessageDefinition("can0", 0x10, "MODES", 8, (SignalDefinition("MODE", 0, 2, multiplexor=True), *MODES)),
    MessageDefinition("can0", 0x11, "PLAIN", 8, (SignalDefinition("X", 0, 8),)),
)


def test_twin_has_the_values_of_its_frames_and_no_multiplexor() -> None:
    count = 100
    data = np.random.default_rng(2).integers(0, 256, (count, 8), dtype=np.uint8)
    ids = np.array([0x10, 0x11, 0x12] * count, np.uint32)[:count]
    none = np.zeros(count, np.uint8)
    frames = FrameBlock(np.arange(count), none, ids, np.full(count, 8, np.uint8), none, data)
    plan = Plan(("can0",), MESSAGES)
    alone = multiplexed_only(frames, plan)
    twin = plain_twin(alone, plan)
    assert twin is not None
    assert set(alone.can_id.tolist()) == {0x10}
    assert not any(signal.selected_by for message in twin[1].messages for signal in message.signals)
    ours, plain = Decoder(plan).decode(alone).signals, Decoder(twin[1]).decode(twin[0]).signals
    assert Counter(ours.values.tolist()) == Counter(plain.values.tolist())
    assert len(ours.group_key) == 1 < len(plain.group_key)
