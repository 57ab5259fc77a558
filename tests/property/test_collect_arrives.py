# SPDX-License-Identifier: Apache-2.0
"""For any stream, rules and triggers: the batches that a receiver gets hold what the reference keeps, and the journal
holds the same of what was not sealed yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.batch.catalog import Catalog
from agent.batch.codec import decode_batch
from agent.collect.collector import Collector
from agent.collect.conditions.binding import Directory
from agent.collect.rules.rules import RuleBook
from agent.collect.triggers.triggers import Trigger
from agent.config.collecting import priorities_in_use, reporting_priority
from agent.config.priorities import Priority
from agent.decode.decoder import Decoder
from agent.model import RAW_SIGNALS
from agent.pipeline.open_batch import SealLimits
from agent.pipeline.packer import Packer
from agent.pipeline.stream import Stream, StreamSettings
from tests.property.collect_conditions import Written, written_triggers
from tests.property.collect_trigger_reference import TriggerReference
from tests.property.test_collect_triggers import RING_BYTES, configured
from tests.support.collect_car import BUSES, MESSAGES, MS, Frame, S, block, pieces, plan, rules, streams
from tests.unit.pipeline.test_packer import ListStore, StoppedClock

if TYPE_CHECKING:
    from agent.batch.codec import Batch
    from agent.config import CollectConfig
    from tests.support.collect_reference import Sample

CATALOG = Catalog(BUSES, MESSAGES)


def samples_of(batches: list[Batch]) -> set[Sample]:
    found: set[Sample] = set()
    for group in (group for batch in batches for group in batch.groups):
        signals = RAW_SIGNALS if group.message < 0 else MESSAGES[group.message].signals
        for signal, column in group.columns.items():
            times = group.time_ns[group.rows(signal)].tolist()
            name = signals[signal].name
            found |= {(group.bus, group.can_id, name, *one) for one in zip(times, column.tolist(), strict=True)}
    return found


cases = st.tuples(streams(), st.one_of(st.just([]), rules(3)), st.lists(written_triggers(), max_size=2)).flatmap(
    lambda drawn: st.tuples(*map(st.just, drawn), pieces(drawn[0]), st.booleans())
)


@given(cases)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_arrives_equals_the_reference(
    case: tuple[list[Frame], list[CollectConfig], list[Written], list[list[Frame]], bool],
) -> None:
    stream, configs, drawn, cut, killed = case
    for number, written in enumerate(drawn):
        written.name = f"event{number}"
    if configs and not drawn and not any(rule.keep for rule in configs):
        return  # no configuration
    triggers = [configured(written) for written in drawn]
    decoder, directory = Decoder(plan()), Directory(MESSAGES)
    used, home = priorities_in_use(configs, triggers), reporting_priority(configs, triggers)
    stores: dict[Priority, ListStore] = {name: ListStore(f"{name}-1") for name in used}
    limits = SealLimits(S, 48 << 10)
    packer = Packer(
        decoder,
        {
            name: Stream(
                CATALOG, store, StreamSettings("car", MS, 1, limits, name is Priority.CRITICAL), StoppedClock()
            )
            for name, store in stores.items()
        },
        home,
        Collector(
            decoder.plan,
            RuleBook.of(configs),
            home,
            [Trigger.of(trigger, directory) for trigger in triggers],
            lambda frames: decoder.decode(frames).signals,
            RING_BYTES,
        ),
    )
    reference = TriggerReference(configs, drawn)
    for part in cut:
        packer.process(block(part))
        for frame in part:
            reference.take(frame)
    if not killed:
        packer.seal()
        reference.flush()
    frames = 0
    for priority in Priority:
        store = stores.get(priority, ListStore())
        payloads = [batch.payload for batch in store.batches] + (store.entries if killed else [])
        batches = [decode_batch(payload, CATALOG) for payload in payloads]
        assert samples_of(batches) == set(reference.kept[priority])
        frames += sum(batch.frames for batch in batches)
    assert frames == len(stream)
