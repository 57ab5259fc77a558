# SPDX-License-Identifier: Apache-2.0
"""What conditions look back at: spans of a signal's samples, and what is remembered of them."""

from __future__ import annotations

import struct
from fractions import Fraction

import numpy as np

from agent.collect.block_view import BlockView, LastSamples
from agent.collect.conditions.evaluate import CompiledCondition
from agent.collect.conditions.history import SAMPLES_MAX, BlockInstants, Held, History, Inputs
from agent.collect.conditions.syntax import Changed, Comparison, Number, Over, Signal, SignalRef
from agent.collect.signal_index import SignalIndex
from agent.decode.decoder import Decoder
from agent.decode.plan import Plan
from agent.model import MessageDefinition, SignalDefinition
from tests.support.collect_car import ENGINES, MESSAGES, MS, START, Frame, S, block, plan

DOUBLE = SignalDefinition("POWER", 0, 64, is_float=True)
ENERGY = MessageDefinition("can0", 0x300, "ENERGY", 8, (DOUBLE,))
POWER = SignalRef(0, 0, DOUBLE)


def test_a_mean_whose_sum_no_float_holds_is_infinite_and_warns_of_nothing() -> None:
    decoder = Decoder(Plan(("can0",), (ENERGY,)))
    signal_index = SignalIndex(decoder.plan)
    inputs = Inputs(signal_index, LastSamples(signal_index))
    mean = Over(0, "mean", Signal(0, POWER, "POWER"), 5 * S)
    inputs.watch(CompiledCondition(Comparison(0, ">", mean, Number(0, Fraction(0)))), {0})
    signal_index.enter(decoder.plan.plain_keys)
    frames = block([Frame(START + at * MS, 0, 0x300, struct.pack("<d", 1.7e308)) for at in range(3)])
    view = BlockView(signal_index, frames, decoder.decode(frames).signals, frames.time_ns)
    at = BlockInstants(view, inputs, inputs.frames(view, [0]), 0)
    assert at.over(mean, POWER).tolist() == [1.7e308, float("inf"), float("inf")]


def history_of(span_ns: int) -> History:
    return History(span_ns, {0})


def test_a_history_forgets_what_no_instant_to_come_looks_back_to() -> None:
    history = history_of(S)
    for second in range(100):
        rebased = np.arange(10) * 100 * MS + second * S
        history.keep(*history.extended(rebased, np.zeros(10)), rebased[-1:])
        assert len(history) <= 30
    assert history.rebased[-10:].tolist() == [99 * S + 100 * MS * place for place in range(10)]


def test_a_history_holds_no_more_samples_than_its_limit_and_those_are_the_latest() -> None:
    history = history_of(600 * S)
    for second in range(130):
        rebased = np.arange(1000) * MS + second * S
        history.keep(*history.extended(rebased, np.full(1000, float(second))), rebased[-1:])
    assert len(history) == SAMPLES_MAX
    assert history.numbers[-1] == 129
    assert (np.diff(history.rebased) == MS).all()


def test_last_value_holds_when_another_sender_of_the_message_appears() -> None:
    car = plan()
    decoder, signal_index = Decoder(car), SignalIndex(car)
    latest = LastSamples(signal_index)
    inputs = Inputs(signal_index, latest)
    torque = SignalRef(2, 0, MESSAGES[2].signals[0])
    inputs.watch(CompiledCondition(Changed(0, Signal(0, torque, "TORQUE"))), {1})
    changed = []
    for at, (sender, value) in enumerate([(0, 1.5), (1, 2.5), (1, 2.5), (0, 2.5), (0, 1.5)]):
        frames = block([Frame(START + at * MS, 1, ENGINES[sender], np.float32(value).tobytes())])
        signals = decoder.decode(frames).signals
        view = BlockView(signal_index, frames, signals, frames.time_ns)
        changed += BlockInstants(view, inputs, inputs.frames(view, [2]), 0).changed(torque).tolist()
        inputs.remember(view, frames.time_ns[-1:].repeat(2))
        latest.update(view, np.zeros(len(signals.values), np.uint8), None)
    assert changed == [False, True, False, False, True]
    assert inputs.held(torque) == Held(int(np.float32(1.5).view(np.uint32)), START + 4 * MS)
