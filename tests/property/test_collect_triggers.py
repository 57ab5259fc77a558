# SPDX-License-Identifier: Apache-2.0
"""For any stream, any triggers beside any rules and any cut into blocks: what fires, and what is kept, is what the
reference says, frame by frame.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.collect.collector import Collector
from agent.collect.conditions.binding import Directory
from agent.collect.rules.rules import RuleBook
from agent.collect.triggers.triggers import Trigger
from agent.config.collecting import TriggerConfig
from agent.config.priorities import Priority
from agent.decode.decoder import Decoder
from agent.model import EventKind
from agent.units import Duration
from tests.property.collect_conditions import Written, written_triggers
from tests.property.collect_trigger_reference import TriggerReference
from tests.support.collect_car import MESSAGES, Frame, block, pieces, plan, rules, streams
from tests.support.collect_reference import samples

if TYPE_CHECKING:
    from agent.config.collecting import CollectConfig

RING_BYTES = 1 << 20


def configured(written: Written) -> TriggerConfig:
    return TriggerConfig(
        name=written.name,
        when=written.when.text,
        until=written.until.text if written.until else None,
        hold=Duration.parse(written.hold),
        at_most_every=Duration.parse(written.at_most_every),
        stale_after=Duration.parse(written.stale_after) if written.stale_after else None,
        before=Duration.parse(written.before),
        after=Duration.parse(written.after),
        record=written.record,
        priority=written.priority,
    )


cases = st.tuples(
    streams(), st.one_of(st.just([]), rules(2)), st.lists(written_triggers(), min_size=1, max_size=3)
).flatmap(lambda drawn: st.tuples(*map(st.just, drawn), pieces(drawn[0])))


@given(cases)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_fires_and_what_is_kept_equals_the_reference_however_the_stream_is_cut(
    case: tuple[list[Frame], list[CollectConfig], list[Written], list[list[Frame]]],
) -> None:
    stream, configs, drawn, cut = case
    for number, written in enumerate(drawn):
        written.name = f"event{number}"
    directory = Directory(MESSAGES)
    triggers = [Trigger.of(configured(written), directory) for written in drawn]
    reference = TriggerReference(configs, drawn)
    for frame in stream:
        reference.take(frame)
    reference.flush()
    decoder = Decoder(plan())
    collector = Collector(
        decoder.plan,
        RuleBook.of(configs),
        Priority.NORMAL,
        triggers,
        lambda frames: decoder.decode(frames).signals,
        RING_BYTES,
    )
    kept = [collector.process(part, decoder.decode(part).signals) for part in map(block, cut)]
    kept.append(collector.flush())
    told = [event for each in kept for events in each.events.values() for event in events]
    fired = [
        (event.time_ns, event.subject, passed_over(event.detail)) for event in told if event.kind == EventKind.TRIGGERED
    ]
    assert sorted(fired) == sorted(reference.fired)
    for priority in Priority:
        found = Counter(
            sample for each in kept for signals in each.blocks.get(priority, []) for sample in samples(signals)
        )
        assert found == Counter(reference.kept[priority])


def passed_over(detail: str) -> int:
    """How many events an event's detail says were passed over."""
    found = re.search(r"(\d+) events passed over", detail)
    return int(found[1]) if found else 0


long_cases = st.tuples(
    streams(300), st.lists(written_triggers(), min_size=1, max_size=4, unique_by=lambda written: written.when.text)
).flatmap(lambda drawn: st.tuples(*map(st.just, drawn), pieces(drawn[0])))


@given(long_cases)
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example])
def test_what_fires_is_the_same_frame_by_frame(case: tuple[list[Frame], list[Written], list[list[Frame]]]) -> None:
    stream, drawn, cut = case
    for number, written in enumerate(drawn):
        written.name = f"event{number}"
    assert fired(drawn, cut) == fired(drawn, [[frame] for frame in stream])


def fired(drawn: list[Written], cut: list[list[Frame]]) -> list[tuple[int, str]]:
    decoder = Decoder(plan())
    triggers = [Trigger.of(configured(written), Directory(MESSAGES)) for written in drawn]
    collector = Collector(
        decoder.plan,
        RuleBook.of([]),
        Priority.NORMAL,
        triggers,
        lambda frames: decoder.decode(frames).signals,
        RING_BYTES,
    )
    kept = [collector.process(part, decoder.decode(part).signals) for part in map(block, cut)]
    return sorted((event.time_ns, event.subject) for each in kept for told in each.events.values() for event in told)
