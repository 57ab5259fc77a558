# SPDX-License-Identifier: Apache-2.0
"""What has come of each id: counted exactly, the last frame kept, rates of late."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pytest

from agent.decode.decoder import Decoder
from agent.decode.plan import Plan
from agent.model import EXTENDED, FrameBlock, FrameFlag, MessageDefinition, SignalDefinition
from agent.pipeline import traffic as heard
from agent.pipeline.traffic import TrafficStatistics

if TYPE_CHECKING:
    from collections.abc import Sequence

SIGNALS = (SignalDefinition("A", 0, 8), SignalDefinition("B", 8, 16))
MESSAGES = (
    MessageDefinition("one", 0x100, "PLAIN", 3, SIGNALS),
    MessageDefinition("two", 0x100, "OTHER", 3, SIGNALS),
    MessageDefinition("two", 0x18FEF100 | EXTENDED, "CCVS", 3, SIGNALS, j1939=True),
)
IDS = (0x100, 0x101, 0x18FEF100 | EXTENDED, 0x0CFEF1AA | EXTENDED, 0x18FEF200 | EXTENDED)

Row = tuple[int, int, int, bytes]


def block(rows: Sequence[Row], *, flags: int = 0) -> FrameBlock:
    """Frames of (time, bus, id, payload)."""
    width = 8 if all(len(row[3]) <= 8 for row in rows) else 64
    data = np.array([list(row[3].ljust(width, b"\0")) for row in rows], np.uint8)
    columns = [np.array([row[n] for row in rows], kind) for n, kind in enumerate((np.int64, np.uint8, np.uint32))]
    lengths = np.array([len(row[3]) for row in rows], np.uint8)
    return FrameBlock(columns[0], columns[1], columns[2], lengths, np.full(len(rows), flags, np.uint8), data)


class Bench:
    """A decoder and what is heard, with a clock to be turned."""

    def __init__(self, *, keep_unknown: bool = False) -> None:
        self.now_s = 0.0
        kept = frozenset({"one"}) if keep_unknown else frozenset[str]()
        self.decoder = Decoder(Plan(("one", "two"), MESSAGES, keep_unknown=kept))
        self.heard = TrafficStatistics(2, 1.0, lambda: self.now_s)

    def update(self, rows: Sequence[Row], *, flags: int = 0) -> None:
        frames = block(rows, flags=flags)
        self.heard.update(frames, self.decoder.decode(frames))


@pytest.mark.parametrize("keep_unknown", [False, True])
def test_counts_and_last_frames_are_those_of_a_walk_over_the_frames(keep_unknown: bool) -> None:
    dice, bench = random.Random(7), Bench(keep_unknown=keep_unknown)
    last: dict[tuple[int, int], Row] = {}
    counts: Counter[tuple[int, int]] = Counter()
    for number in range(40):
        size = 64 if number == 20 else 8
        rows = [
            (number * 1000 + n, dice.randrange(2), dice.choice(IDS), dice.randbytes(dice.randrange(size + 1)))
            for n in range(dice.randrange(1, 50))
        ]
        bench.update(rows)
        last |= {row[1:3]: row for row in rows}
        counts.update(row[1:3] for row in rows)
    found, _ = bench.heard.changes()
    assert {(each.time_ns, each.bus, each.can_id, bytes.fromhex(each.payload)) for each in found} == set(last.values())
    assert {(each.bus, each.can_id): each.frames for each in found} == counts
    named = {(each.bus, each.can_id): each.message for each in found}
    assert named == {key: expected_message(*key) for key in counts}
    for bus, traffic in enumerate(bench.heard.buses()):
        of_bus = {key: count for key, count in counts.items() if key[0] == bus}
        assert traffic.frames == sum(of_bus.values())
        assert traffic.known == sum(count for key, count in of_bus.items() if named[key] >= 0)
        assert (traffic.ids, traffic.unknown_ids) == (len(of_bus), sum(named[key] < 0 for key in of_bus))
        assert traffic.last_ns == max(row[0] for row in last.values() if row[1] == bus)
    assert bench.heard.messages() == [0, 1, 2]


def expected_message(bus: int, can_id: int) -> int:
    if can_id == 0x100:
        return bus
    return 2 if bus == 1 and can_id & 0x3FFFF00 == 0xFEF100 else -1


def test_a_frame_too_short_for_its_message_counts_as_decoded_in_part() -> None:
    bench = Bench()
    bench.update([(1, 0, 0x100, b"abc"), (2, 0, 0x100, b"ab"), (3, 1, 0x100, b"")])
    assert [traffic.partial for traffic in bench.heard.buses()] == [1, 1]


def test_only_what_has_come_since_is_asked_for() -> None:
    bench = Bench()
    bench.update([(1, 0, 0x100, b"a"), (2, 0, 0x101, b"b")])
    _, stamp = bench.heard.changes()
    assert bench.heard.changes(stamp) == ([], stamp)
    bench.update([(3, 0, 0x101, b"c")])
    found, later = bench.heard.changes(stamp)
    assert [(each.can_id, each.frames, each.payload) for each in found] == [(0x101, 2, "63")]
    assert later > stamp


def test_what_a_limit_leaves_out_comes_next() -> None:
    bench = Bench()
    bench.update([(n, 0, n, b"x") for n in range(10)])
    bench.update([(20, 0, 4, b"y")])
    stamp, seen = 0, []
    while True:
        found, stamp = bench.heard.changes(stamp, 4)
        if not found:
            break
        assert len(found) <= 4
        seen += [each.can_id for each in found]
    assert sorted(seen) == list(range(10))


def test_the_rate_is_that_of_the_last_seconds_and_falls_in_silence() -> None:
    bench = Bench()
    for second in range(1, 31):
        bench.now_s = second * 0.7
        bench.update([(n, 0, 0x100, b"12345678") for n in range(70 if second > 15 else 7)])
    traffic = bench.heard.buses()[0]
    assert traffic.frames_s == pytest.approx(100)
    assert traffic.bits_s == pytest.approx(100 * (47 + 64))
    bench.now_s += 1.5
    assert bench.heard.buses()[0].frames_s == pytest.approx(100)
    bench.now_s += 2
    assert 0 < bench.heard.buses()[0].frames_s < 60
    bench.now_s += 20
    assert bench.heard.buses()[0].frames_s == 0
    bench.update([(1, 0, 0x100, b"") for _ in range(50)])
    assert bench.heard.buses()[0].frames_s == pytest.approx(50)


def test_before_the_first_frame_all_is_nothing() -> None:
    traffic = Bench().heard.buses()[1]
    assert (traffic.frames, traffic.frames_s, traffic.bits_s, traffic.last_ns) == (0, 0.0, 0.0, 0)


def test_bits_of_extended_frames_are_more_and_those_of_can_fd_are_not_told() -> None:
    bench = Bench()
    bench.now_s = 1.0
    bench.update([(1, 0, 0x100 | EXTENDED, b""), (2, 1, 0x100, b"x")], flags=0)
    assert bench.heard.buses()[0].bits_s == pytest.approx(67)
    bench.update([(3, 1, 0x100, bytes(64))], flags=FrameFlag.FD)
    assert [traffic.bits_s is None for traffic in bench.heard.buses()] == [False, True]


def test_ids_without_end_are_bounded_and_still_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heard, "IDS_MAX", 3)
    bench = Bench()
    bench.update([(n, 0, n, b"") for n in range(10)])
    bench.update([(n, 0, n, b"") for n in range(10)])
    found, _ = bench.heard.changes()
    assert [each.frames for each in found] == [2, 2, 2]
    assert bench.heard.buses()[0].frames == 20


def test_id_that_goes_on_is_remembered_through_a_flood_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heard, "IDS_MAX", 30)
    bench = Bench()
    for number in range(10):
        strangers = [(number, 0, 0x1000 + 20 * number + n | EXTENDED, b"") for n in range(20)]
        bench.update([*strangers, (number, 0, 0x321, bytes([number])), (number, 1, 0x100, b"abc")])
    bench.update([(10, 0, 0x456, b"new")])
    found, _ = bench.heard.changes()
    assert len(found) == 30
    by_id = {(each.bus, each.can_id): (each.frames, each.payload) for each in found}
    assert by_id[0, 0x321] == (10, "09")
    assert by_id[1, 0x100][0] == 10
    assert by_id[0, 0x456] == (1, b"new".hex())
    assert bench.heard.buses()[0].frames == 211
