# SPDX-License-Identifier: Apache-2.0
"""What conditions look back at: spans of a signal's samples, and what is remembered of them."""

from __future__ import annotations

import struct

from agent.collect.expression import Over, Signal, SignalRef
from agent.collect.inputs import BlockInstants, Inputs
from agent.collect.roster import Latest, Roster
from agent.collect.view import View
from agent.decode.decoder import Decoder
from agent.decode.plan import Plan
from agent.model import MessageDefinition, SignalDefinition
from tests.property.collect_car import MS, START, Frame, S, block

DOUBLE = SignalDefinition("POWER", 0, 64, is_float=True)
ENERGY = MessageDefinition("can0", 0x300, "ENERGY", 8, (DOUBLE,))
POWER = SignalRef(0, 0, DOUBLE)


def test_a_mean_whose_sum_no_float_holds_is_infinite_and_warns_of_nothing() -> None:
    decoder = Decoder(Plan(("can0",), (ENERGY,)))
    roster = Roster(decoder.plan)
    inputs = Inputs(roster, Latest(roster))
    mean = Over(0, "mean", Signal(0, POWER, "POWER"), 5 * S)
    inputs.watch([POWER], [mean], [], {0})
    roster.enter(decoder.plan.plain_keys)
    frames = block([Frame(START + at * MS, 0, 0x300, struct.pack("<d", 1.7e308)) for at in range(3)])
    view = View(roster, frames, decoder.decode(frames).signals, frames.time_ns)
    at = BlockInstants(view, inputs, inputs.frames(view, [0]), 0)
    assert at.over(mean, POWER).tolist() == [1.7e308, float("inf"), float("inf")]
