# SPDX-License-Identifier: Apache-2.0
"""For any stream, any rules, any cut into blocks and any silence that closes what is open: what is kept is what the
reference keeps, frame by frame.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.collect.collector import Collector
from agent.collect.rules.rules import RuleBook
from agent.config.priorities import Priority
from agent.decode.decoder import Decoder
from tests.support.collect_car import Frame, block, pieces, plan, rules, streams
from tests.support.collect_reference import Reference, samples

if TYPE_CHECKING:
    from agent.config.collecting import CollectConfig

cases = st.tuples(streams(), rules()).flatmap(
    lambda drawn: st.tuples(st.just(drawn[1]), pieces(drawn[0]), st.sets(st.integers(0, 6), max_size=2))
)


@given(cases)
@settings(max_examples=80, deadline=None)
def test_what_is_kept_equals_the_reference_however_the_stream_is_cut(
    case: tuple[list[CollectConfig], list[list[Frame]], set[int]],
) -> None:
    configs, cut, silences = case
    reference, decoder = Reference(configs), Decoder(plan())
    collector = Collector(decoder.plan, RuleBook.of(configs))
    kept = []
    for place, part in enumerate(cut):
        for frame in part:
            reference.take(frame)
        frames = block(part)
        kept.append(collector.process(frames, decoder.decode(frames).signals))
        if place in silences or place == len(cut) - 1:
            reference.flush()
            kept.append(collector.flush())
    events = sorted(
        (event.kind, event.can_id, event.time_ns) for each in kept for event in each.events.get(Priority.NORMAL, [])
    )
    assert events == sorted((kind, can_id, time_ns) for kind, _, can_id, time_ns in reference.events)
    for priority in Priority:
        found = Counter(
            sample for each in kept for signals in each.blocks.get(priority, []) for sample in samples(signals)
        )
        assert found == Counter(reference.kept[priority])
