# SPDX-License-Identifier: Apache-2.0
"""The receive loop: stores messages in groups, writes them decoded if asked to, and acknowledges them.

Promise: a message is acknowledged after it is durable, never before. A receiver that is killed gets it again and drops
it as a duplicate. A rejected payload is acknowledged too, or the broker would send it for ever. The empty messages of
``canferry check`` are acknowledged and ignored.
Limits: a group has up to `GROUP_MAX` messages and `GROUP_BYTES_MAX`. It is stored on one worker thread, while the
event loop keeps the link alive and receives one more group at most.
Failure: a disk that refuses raises `SpoolError`, a broker that refuses `UplinkError`. Messages without acknowledgement
stay with the broker.
"""

from __future__ import annotations

import asyncio
import re
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol

from agent.config.priorities import HIGHEST_FIRST
from agent.errors import ConfigError
from agent.receiver.batch_receiver import Accepted, Arrival, BatchReceiver, Verdict
from agent.receiver.layout import MissingCatalogs
from agent.uplink.trial import is_empty_message

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable, Sequence
    from pathlib import Path

    from agent.receiver.decoded import DecodedOutput

VEHICLE, CLASS = "{vehicle}", "{class}"
GROUP_MAX = 256
GROUP_BYTES_MAX = 16 << 20
_PLACEHOLDER = re.compile(r"\{[^}/]*\}?|\}")


class Message(Protocol):
    """What has come in on a topic."""

    @property
    def topic(self) -> str:
        """Where it was published."""

    @property
    def payload(self) -> bytes:
        """The bytes."""

    @property
    def omitted_bytes(self) -> int:
        """How many more it had: it was too long to be kept."""

    def acknowledge(self) -> None:
        """Tell the broker that it is safe here."""


class ReceiveLoop:
    """Stores messages as they come; `report` is called with each, on the event loop."""

    def __init__(
        self,
        receiver: BatchReceiver,
        topics: Sequence[str],
        report: Callable[[Accepted, int], None],
        decoded: DecodedOutput | None = None,
    ) -> None:
        self._receiver = receiver
        self._topics = expanded(topics)
        self._report = report
        self._decoded = decoded
        self._missing = MissingCatalogs()

    @property
    def waiting(self) -> int:
        """Batches that have come and lie here without their catalog."""
        return self._missing.batches

    async def run(self, messages: AsyncIterable[Message]) -> None:
        """Receive until cancelled; the messages at hand are finished first."""
        arrived = _Arrived(GROUP_MAX)
        listening = asyncio.create_task(_listen(messages, arrived), name="listen")
        try:
            with ThreadPoolExecutor(1, "receiver") as worker:
                while group := await _group(arrived):
                    await self._handle(group, worker)
        finally:
            listening.cancel()
            await asyncio.wait([listening])
        listening.result()

    async def _handle(self, group: list[Message], worker: ThreadPoolExecutor) -> None:
        while group:
            stored = asyncio.get_running_loop().run_in_executor(worker, self._store, group)
            try:
                await asyncio.shield(stored)
            except asyncio.CancelledError:
                await asyncio.wait([stored])
                self._finish(group, stored.result())
                raise
            self._finish(group, stored.result())
            group = group[len(stored.result()) :]

    def _finish(self, group: list[Message], accepted: list[Accepted]) -> None:
        done = list(zip(group, accepted, strict=False))  # of those behind nothing is stored yet
        for message, _ in done:
            message.acknowledge()
        for message, each in done:
            self._report(each, len(message.payload) + message.omitted_bytes)

    def _store(self, group: list[Message]) -> list[Accepted]:
        accepted = self._receiver.accept_some([self._arrival(each) for each in group])
        for each in accepted:
            if each.path is not None:
                self._look_into(each, each.path)
        return accepted

    def _arrival(self, message: Message) -> Arrival:
        return Arrival(message.payload, vehicle_of(message.topic, self._topics), message.omitted_bytes)

    def _look_into(self, accepted: Accepted, path: Path) -> None:
        if accepted.verdict is Verdict.CATALOG:
            self._missing.add_catalog(path)
        elif accepted.verdict in (Verdict.BATCH, Verdict.REUSED) and accepted.batch is not None:
            self._missing.add_batch(accepted.batch.catalog, path)
        if self._decoded is not None:
            self._decode(self._decoded, accepted, path)

    def _decode(self, decoded: DecodedOutput, accepted: Accepted, path: Path) -> None:
        if accepted.verdict is Verdict.CATALOG:
            decoded.add_catalog(path)
        elif accepted.batch is not None:  # a duplicate too: the power may have gone before it was written
            decoded.add_batch(accepted.batch, path)


def check_topics(topics: Sequence[str]) -> None:
    """Raises ConfigError for a topic with a placeholder that is not known, or that no filter can have there."""
    for topic in topics:
        for found in _PLACEHOLDER.findall(topic):
            if found not in (VEHICLE, CLASS):
                raise ConfigError(f'--topic "{topic}": {found} stands for nothing; accepted: {VEHICLE} and {CLASS}')
        if any(VEHICLE in level and level != VEHICLE for level in topic.split("/")):
            raise ConfigError(f'--topic "{topic}": {VEHICLE} stands for a whole level; accepted: …/{VEHICLE}/…')


def expanded(topics: Sequence[str]) -> list[str]:
    """The topics, one of each class in the place of those with ``{class}`` in them."""
    return list(dict.fromkeys(topic.replace(CLASS, str(each)) for topic in topics for each in HIGHEST_FIRST))


class _Arrived(asyncio.Queue["Message | None"]):
    """What waits to be stored, None behind the last; full with `GROUP_BYTES_MAX`, too."""

    size_bytes = 0

    def full(self) -> bool:
        return super().full() or self.size_bytes >= GROUP_BYTES_MAX

    def _put(self, item: Message | None) -> None:
        super()._put(item)
        self.size_bytes += len(item.payload) if item else 0

    def _get(self) -> Message | None:
        item = super()._get()
        self.size_bytes -= len(item.payload) if item else 0
        return item


async def _listen(messages: AsyncIterable[Message], arrived: _Arrived) -> None:
    """Take in what comes; None when nothing more will."""
    failure = None
    try:
        async for message in messages:
            if is_empty_message(message.payload) and not message.omitted_bytes:
                message.acknowledge()
            else:
                await arrived.put(message)
    except Exception as error:  # noqa: BLE001 - raised again, once whoever waits has been told
        failure = error
    await arrived.put(None)
    if failure is not None:
        raise failure


async def _group(arrived: _Arrived) -> list[Message]:
    """The next message, once it has come, and what has come with it; none at the end."""
    message = await arrived.get()
    group: list[Message] = []
    size = 0
    while message is not None:
        group.append(message)
        size += len(message.payload)
        if len(group) >= GROUP_MAX or size >= GROUP_BYTES_MAX or arrived.empty():
            return group
        message = arrived.get_nowait()
    if group:
        arrived.put_nowait(None)
    return group


def filters(topics: Sequence[str]) -> list[str]:
    """MQTT topic filters of topics with ``{vehicle}`` and ``{class}`` in them."""
    return [topic.replace(VEHICLE, "+") for topic in expanded(topics)]


def vehicle_of(topic: str, topics: Sequence[str]) -> str | None:
    """The vehicle that a topic names, None where the first of `topics` that it matches has no ``{vehicle}``."""
    levels = topic.split("/")
    for pattern in topics:
        wanted = pattern.split("/")
        if _matches(levels, wanted):
            return levels[wanted.index(VEHICLE)] if VEHICLE in wanted else None
    return None


def _matches(levels: list[str], wanted: list[str]) -> bool:
    if wanted[-1] == "#":
        levels, wanted = levels[: len(wanted) - 1], wanted[:-1]
    return len(levels) == len(wanted) and all(
        want in ("+", VEHICLE, level) for level, want in zip(levels, wanted, strict=True)
    )
