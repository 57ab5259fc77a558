# SPDX-License-Identifier: Apache-2.0
"""In memory: a spool, a broker whose answers are scripted, and a clock that jumps to the next thing that is due."""

from __future__ import annotations

import asyncio
import selectors
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from agent.model import SpooledBatch
from agent.uplink.properties import NONE, MessageProperties
from agent.uplink.transport import Answer, LinkLimits, LinkLoss, Outcome, Trouble

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Collection, Coroutine, Sequence

T = TypeVar("T")
ACCEPTED = Answer(Outcome.ACCEPTED, 0)
CLOSED_BY_PEER = LinkLoss(Trouble.DROPPED, "the other end closed the connection", by_peer=True)


class MemoryQueue:
    """A spool without a disk. `base`: how many batches it has held before the stream began."""

    def __init__(self, stream: str = "normal-1", base: int = 0) -> None:
        self._stream, self._base = stream, base
        self.records: dict[int, SpooledBatch] = {}
        self.acknowledged: list[int] = []
        self.set_aside_reasons: dict[int, str] = {}
        self.aside_max = 1000
        self._next = base

    @property
    def stream(self) -> str:
        return self._stream

    @property
    def next_sequence(self) -> int:
        return self._next

    def append(self, payload: bytes = b"payload", catalog: str = "", vehicle: str = "") -> int:
        sequence, self._next = self._next, self._next + 1
        self.records[sequence] = SpooledBatch(
            payload=payload,
            catalog=catalog,
            begin_ns=0,
            end_ns=0,
            frames=0,
            vehicle=vehicle,
            stream=self._stream,
            number=sequence - self._base,
            sequence=sequence,
        )
        return sequence

    def oldest(
        self, after: int = -1, limit: int = 1, held: Collection[str] = (), bytes_max: int | None = None
    ) -> Sequence[SpooledBatch]:
        found = [self.records[sequence] for sequence in sorted(self.records) if sequence > after]
        found = [record for record in found if bytes_max is None or len(record.payload) <= bytes_max]
        return [record for record in found if record.vehicle not in held][:limit]

    def larger_than(self, size_bytes: int) -> int:
        return sum(len(record.payload) > size_bytes for record in self.records.values())

    def waiting_of(self, vehicle: str) -> int:
        return sum(record.vehicle == vehicle for record in self.records.values())

    def acknowledge(self, sequence: int) -> None:
        self.acknowledged.append(sequence)
        self.records.pop(sequence, None)

    def set_aside(self, sequence: int, reason: str) -> bool:
        if len(self.set_aside_reasons) >= self.aside_max:
            return False
        self.set_aside_reasons[sequence] = reason
        self.records.pop(sequence, None)
        return True


async def call_inline(function: Callable[..., T], /, *arguments: object) -> T:
    """The worker thread's place, taken by the loop, a step later."""
    await asyncio.sleep(0)
    return function(*arguments)


@dataclass
class Publish:
    """What a link was asked to publish, and when."""

    at: float
    topic: str
    payload: bytes
    retain: bool


class FakeLink:
    """Asks its broker for each answer."""

    version = "5"

    def __init__(self, broker: FakeBroker) -> None:
        self._broker = broker
        self.limits = broker.limits
        self.loss: asyncio.Future[LinkLoss] = asyncio.get_running_loop().create_future()

    async def publish(
        self, topic: str, payload: bytes, *, retain: bool = False, properties: MessageProperties = NONE
    ) -> Answer:
        broker = self._broker
        broker.publishes.append(Publish(asyncio.get_running_loop().time(), topic, payload, retain))
        if topic.endswith("/status"):
            return ACCEPTED
        broker.in_flight += 1
        broker.in_flight_max = max(broker.in_flight_max, broker.in_flight)
        answer = asyncio.ensure_future(broker.answer(self, topic, payload))
        try:
            waiting: list[asyncio.Future[Any]] = [answer, self.loss]
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            broker.in_flight -= 1
            if not answer.done():
                answer.cancel()
        return answer.result() if answer.done() and not answer.cancelled() else Answer(Outcome.LOST)

    async def lost(self) -> LinkLoss:
        return await asyncio.shield(self.loss)

    def lose(self, loss: LinkLoss = CLOSED_BY_PEER) -> None:
        if not self.loss.done():
            self.loss.set_result(loss)


@dataclass
class FakeBroker:
    """A transport: `answers` decides about each publish, `refusals` are raised first."""

    answers: Callable[[FakeLink, str, bytes], Answer | None] = lambda link, topic, payload: ACCEPTED
    round_trip_s: float = 0.08
    limits: LinkLimits = field(default_factory=LinkLimits)
    refusals: list[Exception] = field(default_factory=list)
    address: str = "broker.example:8883"
    publishes: list[Publish] = field(default_factory=list)
    links: list[FakeLink] = field(default_factory=list)
    connected_at: list[float] = field(default_factory=list)
    in_flight: int = 0
    in_flight_max: int = 0
    routed: bool = True
    deaf: int = 0
    """So many connections find nobody who answers."""

    def has_route(self) -> bool:
        return self.routed

    async def answer(self, link: FakeLink, topic: str, payload: bytes) -> Answer:
        answer = self.answers(link, topic, payload)
        await asyncio.sleep(self.round_trip_s)
        if answer is None:
            await asyncio.Event().wait()
        assert answer is not None
        return answer

    @asynccontextmanager
    async def connect(self) -> AsyncGenerator[FakeLink, None]:
        self.connected_at.append(asyncio.get_running_loop().time())
        if self.refusals:
            raise self.refusals.pop(0)
        if self.deaf:
            self.deaf -= 1
            await asyncio.sleep(100_000)
        link = FakeLink(self)
        self.links.append(link)
        yield link

    def sent(self, suffix: str = "/batch") -> list[bytes]:
        return [publish.payload for publish in self.publishes if publish.topic.endswith(suffix)]


class _Jumping(selectors.SelectSelector):
    """Does not wait: tells the loop how long it would have."""

    def __init__(self) -> None:
        super().__init__()
        self.waited_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise AssertionError("everything waits and nothing is due: a deadlock")
        events = super().select(0)
        if not events:
            self.waited_s += max(timeout, 0.0)
        return events


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop in which waiting takes no time."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.waited_s


def run_virtual(main: Coroutine[Any, Any, T]) -> T:
    """Run it on a loop of its own, whose clock begins at 0."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
