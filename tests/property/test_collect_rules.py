# SPDX-License-Identifier: Apache-2.0
"""For any stream, any rules and any cut into blocks: what is kept is what the reference keeps, frame by frame."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from agent.collect.classes import CLASSES
from agent.collect.collector import Collector
from agent.collect.rules import RuleBook
from agent.decode.decoder import Decoder
from tests.property.collect_car import Frame, block, pieces, plan, rules, streams
from tests.property.collect_reference import Reference, samples

if TYPE_CHECKING:
    from agent.config.collecting import CollectConfig

cases = st.tuples(streams(), rules()).flatmap(
    lambda drawn: st.tuples(st.just(drawn[0]), st.just(drawn[1]), pieces(drawn[0]))
)


@given(cases)
@settings(max_examples=80, deadline=None)
def test_what_is_kept_equals_the_reference_however_the_stream_is_cut(
    case: tuple[list[Frame], list[CollectConfig], list[list[Frame]]],
) -> None:
    stream, configs, cut = case
    reference = Reference(configs)
    for frame in stream:
        reference.take(frame)
    reference.flush()
    decoder = Decoder(plan())
    collector = Collector(decoder.plan, RuleBook.of(configs))
    kept = [collector.take(part, decoder.decode(part).signals) for part in map(block, cut)]
    kept.append(collector.flush())
    events = sorted(
        (event.kind, event.can_id, event.time_ns) for each in kept for event in each.events.get("normal", [])
    )
    assert events == sorted((kind, can_id, time_ns) for kind, _, can_id, time_ns in reference.events)
    for rank, name in enumerate(CLASSES, 1):
        found = [samples(signals) for each in kept for signals in each.blocks.get(name, [])]
        assert {sample for each in found for sample in each} == set(reference.kept[rank])
        for each in found:
            assert max(Counter(each).values()) <= max(Counter(reference.kept[rank]).values())
