# SPDX-License-Identifier: Apache-2.0
"""A message is acknowledged after it is stored, and decoded as soon as its catalog is there."""

from __future__ import annotations

import asyncio
import io
import json
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
import zstandard
from structlog.testing import capture_logs

from agent.batch.catalog import encode_catalog
from agent.errors import ConfigError, SpoolError
from agent.receiver.batch_receiver import Accepted, Arrival, BatchReceiver, Verdict
from agent.receiver.decoded import DecodedOutput
from agent.receiver.receive_loop import GROUP_MAX, ReceiveLoop, check_topics, expanded, filters, vehicle_of
from agent.uplink.trial import empty_message
from tests.support.hostile_batches import CATALOG, packed, shaped
from tests.support.samples import START, batch, catalog, steer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

TOPICS = ("canferry/{vehicle}/batch", "canferry/{vehicle}/catalog")


@dataclass
class FakeMessage:
    topic: str
    payload: bytes
    out: Path
    omitted_bytes: int = 0
    stored: list[str] = field(default_factory=list)
    acknowledged: bool = False

    def acknowledge(self) -> None:
        self.acknowledged = True
        self.stored = sorted(path.name for path in self.out.rglob("*.zst"))


async def stream(messages: list[FakeMessage]) -> AsyncIterator[FakeMessage]:
    for message in messages:
        yield message


def message(out: Path, payload: bytes, kind: str = "batch") -> FakeMessage:
    return FakeMessage(f"canferry/car-1/{kind}", payload, out)


async def take(
    receiver: BatchReceiver, messages: list[FakeMessage], decoded: DecodedOutput | None = None
) -> list[Accepted]:
    told: list[Accepted] = []
    await ReceiveLoop(receiver, TOPICS, lambda accepted, size: told.append(accepted), decoded).run(stream(messages))
    return told


async def test_a_message_is_acknowledged_after_it_is_stored(tmp_path: Path) -> None:
    messages = [message(tmp_path, batch(n, [steer(START, n)])) for n in (0, 0, 1)]

    told = await take(BatchReceiver(tmp_path), [*messages, message(tmp_path, b"junk")])

    assert all(each.acknowledged for each in messages)
    assert all("000000000000.batch.zst" in each.stored for each in messages[:2])
    assert "000000000001.batch.zst" in messages[2].stored
    assert [each.verdict.value for each in told] == ["batch", "duplicate", "batch", "rejected"]


async def test_a_message_that_cannot_be_stored_is_not_acknowledged(tmp_path: Path) -> None:
    receiver = BatchReceiver(tmp_path)
    (tmp_path / "car-1").write_text("in the way")
    refused = message(tmp_path, batch(0, [steer(START, 1)]))

    with pytest.raises(SpoolError):
        await take(receiver, [refused])

    assert not refused.acknowledged


async def test_a_message_at_hand_is_finished_when_the_end_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver = BatchReceiver(tmp_path)
    begun, go_on = asyncio.Event(), threading.Event()
    loop, accept = asyncio.get_running_loop(), receiver.accept_some

    def slow(arrived: Sequence[Arrival]) -> list[Accepted]:
        loop.call_soon_threadsafe(begun.set)
        go_on.wait(10)
        return accept(arrived)

    monkeypatch.setattr(receiver, "accept_some", slow)
    at_hand = message(tmp_path, batch(0, [steer(START, 1)]))
    task = asyncio.create_task(take(receiver, [at_hand]))
    await begun.wait()
    task.cancel()
    loop.call_soon(go_on.set)
    with pytest.raises(asyncio.CancelledError):
        await task

    assert at_hand.stored == ["000000000000.batch.zst"]


async def test_a_batch_waits_for_its_catalog_to_be_written_decoded(tmp_path: Path) -> None:
    decoded = DecodedOutput("jsonl")
    receiver = BatchReceiver(tmp_path)
    out = tmp_path / "car-1/normal-1/000000000000.jsonl"

    await take(receiver, [message(tmp_path, batch(0, [steer(START, 3)]))], decoded)
    assert not out.exists()
    await take(receiver, [message(tmp_path, catalog(), "catalog")], decoded)

    assert json.loads(out.read_text())["signals"]["ANGLE"] == -1.5


@pytest.mark.parametrize("name", [None, "jsonl"])
async def test_batches_without_their_catalog_are_counted_decoded_or_not(tmp_path: Path, name: str | None) -> None:
    receiver = BatchReceiver(tmp_path)
    decoded = DecodedOutput(name) if name else None
    receive_loop = ReceiveLoop(receiver, TOPICS, lambda accepted, size: None, decoded)
    batches = [message(tmp_path, batch(number, [steer(START, 1)])) for number in (0, 1, 1)]

    await receive_loop.run(stream(batches))
    assert receive_loop.waiting == 2
    await receive_loop.run(stream([message(tmp_path, catalog(), "catalog")]))
    assert receive_loop.waiting == 0
    await receive_loop.run(stream([message(tmp_path, batch(2, [steer(START, 1)]))]))
    assert receive_loop.waiting == 0


async def test_a_catalog_that_came_in_an_earlier_run_is_not_waited_for(tmp_path: Path) -> None:
    receiver = BatchReceiver(tmp_path)
    await take(receiver, [message(tmp_path, catalog(), "catalog")])
    receive_loop = ReceiveLoop(receiver, TOPICS, lambda accepted, size: None)

    await receive_loop.run(stream([message(tmp_path, batch(0, [steer(START, 1)]))]))

    assert receive_loop.waiting == 0


async def test_lines_on_stdout_name_the_vehicle_and_leave_no_batch_behind(tmp_path: Path) -> None:
    lines = io.BytesIO()
    decoded = DecodedOutput("jsonl", lines=lines)
    payload = batch(0, [steer(START, 3)])

    await take(
        BatchReceiver(tmp_path),
        [message(tmp_path, catalog(), "catalog"), message(tmp_path, payload), message(tmp_path, payload)],
        decoded,
    )

    assert [json.loads(line)["vehicle"] for line in lines.getvalue().splitlines()] == ["car-1"]
    assert not list(tmp_path.rglob("*.batch.zst"))


async def test_a_duplicate_is_decoded_where_the_power_went_before_it_was(tmp_path: Path) -> None:
    receiver = BatchReceiver(tmp_path)
    payload = batch(0, [steer(START, 3)])
    await take(receiver, [message(tmp_path, catalog(), "catalog"), message(tmp_path, payload)])

    await take(receiver, [message(tmp_path, payload)], DecodedOutput("csv"))

    assert receiver.counts[Verdict.DUPLICATE] == 1
    assert (tmp_path / "car-1/normal-1/000000000000.csv").exists()


@pytest.mark.parametrize("name", ["jsonl", "csv", "parquet", "mf4"])
async def test_a_batch_that_would_become_far_too_much_is_left_to_export(name: str, tmp_path: Path) -> None:
    receiver = BatchReceiver(tmp_path)
    rows, columns = 4 << 20, 15
    payload = packed(shaped(1, rows, columns, 0))
    bus = encode_catalog(CATALOG)

    with capture_logs() as logs:
        messages = [message(tmp_path, bus, "catalog"), message(tmp_path, payload)]
        told = await take(receiver, messages, DecodedOutput(name))

    assert len(payload) < 200
    assert [each.verdict for each in told] == [Verdict.CATALOG, Verdict.BATCH]
    assert [entry["event"] for entry in logs] == ["batch_undecoded"]
    assert not list(tmp_path.rglob(f"*.{name}"))


async def test_a_batch_that_a_writer_cannot_take_is_left_to_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.receiver.writers.TextWriter.write", lambda self, parts, events: 1 // 0)
    messages = [message(tmp_path, catalog(), "catalog"), message(tmp_path, batch(0, [steer(START, 3)]))]

    await take(BatchReceiver(tmp_path), messages, DecodedOutput("jsonl"))

    assert all(each.acknowledged for each in messages)


async def test_what_has_arrived_together_is_stored_at_the_price_of_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver, groups = BatchReceiver(tmp_path), list[int]()
    accept = receiver.accept_some

    def counted(arrived: Sequence[Arrival]) -> list[Accepted]:
        groups.append(len(arrived))
        return accept(arrived)

    monkeypatch.setattr(receiver, "accept_some", counted)
    payloads = [batch(number, [steer(START, number)]) for number in range(GROUP_MAX + 50)]

    told = await take(receiver, [message(tmp_path, payload) for payload in payloads])

    assert [each.batch.id.sequence for each in told if each.batch] == list(range(GROUP_MAX + 50))
    assert max(groups) <= GROUP_MAX
    assert len(groups) < 10


@pytest.mark.parametrize(
    ("topic", "topics", "vehicle"),
    [
        ("canferry/car-1/batch", TOPICS, "car-1"),
        ("canferry/car-1/catalog", TOPICS, "car-1"),
        ("canferry/car-1/batch", ("canferry/+/batch",), None),
        ("fleet/a/car-1/x/y", ("fleet/+/{vehicle}/#",), "car-1"),
        ("other/car-1/batch", TOPICS, None),
    ],
)
def test_the_vehicle_is_read_from_the_topic(topic: str, topics: tuple[str, ...], vehicle: str | None) -> None:
    assert vehicle_of(topic, topics) == vehicle


def test_a_topic_with_vehicle_becomes_a_filter() -> None:
    assert filters(TOPICS) == ["canferry/+/batch", "canferry/+/catalog"]


def test_a_topic_with_class_becomes_a_filter_for_each_class() -> None:
    topics = ("canferry/{vehicle}/{class}", "canferry/{vehicle}/catalog")
    assert filters(topics) == [f"canferry/+/{name}" for name in ("critical", "normal", "bulk", "catalog")]
    assert filters(("{vehicle}/batch-{class}",)) == ["+/batch-critical", "+/batch-normal", "+/batch-bulk"]


def test_a_topic_of_a_class_names_its_vehicle_and_no_other_does() -> None:
    topics = expanded(("fleet/{class}/{vehicle}",))
    assert [vehicle_of(f"fleet/{name}/car-1", topics) for name in ("critical", "bulk", "urgent")] == [
        "car-1",
        "car-1",
        None,
    ]


@pytest.mark.parametrize(
    ("topic", "told"),
    [
        ("a/{vin}", '--topic "a/{vin}": {vin} stands for nothing; accepted: {vehicle} and {class}'),
        ("a/{class", '--topic "a/{class": {class stands for nothing'),
        ("a/class}", '--topic "a/class}": } stands for nothing'),
        ("a/x-{vehicle}", '--topic "a/x-{vehicle}": {vehicle} stands for a whole level; accepted: …/{vehicle}/…'),
    ],
)
def test_a_topic_with_another_placeholder_is_refused(topic: str, told: str) -> None:
    with pytest.raises(ConfigError) as refused:
        check_topics((topic,))
    assert str(refused.value).startswith(told)
    check_topics(("a/{vehicle}/{class}/#", "b/x-{class}"))


@pytest.mark.parametrize("size", [0, 8, 1024])
async def test_a_message_that_holds_nothing_is_acknowledged_and_passed_over(tmp_path: Path, size: int) -> None:
    receiver, empty = BatchReceiver(tmp_path), message(tmp_path, empty_message(size))
    assert zstandard.ZstdDecompressor().decompressobj().decompress(empty.payload) == b""

    await take(receiver, [empty, message(tmp_path, batch(0, [steer(START, 1)]))])

    assert empty.acknowledged
    assert (receiver.counts[Verdict.BATCH], receiver.counts[Verdict.REJECTED]) == (1, 0)
