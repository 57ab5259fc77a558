# SPDX-License-Identifier: Apache-2.0
"""A cellular link between a client and a broker, as TCP makes one of it: a rate, a delay, loss, and silence.

    async with Radio(broker.port, bytes_per_s=125_000, delay_s=0.1, loss=0.02) as radio:
        …                   # clients connect to radio.port
        radio.dead = True   # nothing gets through any more, and nobody is told

Each direction is a queue that is emptied at the rate, a segment at a time, and behind it the delay. A segment that is
lost is sent again after a round trip: it takes of the rate twice, and all behind it wait, as TCP hands on in order.

Limits: what TCP's congestion control makes of loss is not in it. This is the link of one that takes no notice of loss
(BBR); CUBIC and Reno slow down, by Mathis' formula (1.22 segments a round trip over the root of the loss) to half of
1 Mbit/s at 200 ms and 2 %. The schedule is that of the link, not of this process: what waits in the queue goes on
while the process is kept from running.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

SEGMENT_BYTES = 1448
AROUND_BYTES = 52
"""Headers of IP and TCP in each segment; they take of the rate, too."""
QUEUE_BYTES = 256 << 10
"""What a radio keeps for what is to be sent."""


class Radio:
    """Listens on 127.0.0.1:`port`. `wire_bytes` is what went up, with headers and what was sent again."""

    def __init__(self, broker_port: int, *, bytes_per_s: float, delay_s: float, loss: float) -> None:
        self._broker_port = broker_port
        self._bytes_per_s = bytes_per_s
        self._delay_s = delay_s
        self._loss = loss
        self._dice = random.Random(1)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0
        self.dead = False
        self.wire_bytes = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=QUEUE_BYTES)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        broker_reader, broker_writer = await asyncio.open_connection("127.0.0.1", self._broker_port)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._carry(reader, broker_writer, upward=True), name="radio-up")
                both.create_task(self._carry(broker_reader, writer, upward=False), name="radio-down")
        except* OSError:
            pass
        except* asyncio.CancelledError:
            pass
        finally:
            for end in (writer, broker_writer):
                end.close()
            self._tasks.discard(task)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, upward: bool) -> None:
        """One direction, until its sender ends it."""
        loop = asyncio.get_running_loop()
        room = asyncio.Semaphore(QUEUE_BYTES // SEGMENT_BYTES)
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        handing = loop.create_task(self._hand_on(queue, room, writer), name="radio-delay")
        free_at = arrives_at = loop.time()
        try:
            while True:
                await room.acquire()
                segment = await reader.read(SEGMENT_BYTES)
                takes_s = (len(segment) + AROUND_BYTES) / self._bytes_per_s
                free_at = max(free_at, loop.time()) + takes_s
                got_through_at = free_at + self._delay_s
                self._count(upward, len(segment))
                while segment and self._dice.random() < self._loss:
                    free_at += takes_s
                    got_through_at += 2 * self._delay_s + takes_s
                    self._count(upward, len(segment))
                arrives_at = max(arrives_at, got_through_at)
                queue.put_nowait((arrives_at, segment))
                if not segment:
                    await handing
                    return
        finally:
            handing.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError):
                await handing

    async def _hand_on(
        self, queue: asyncio.Queue[tuple[float, bytes]], room: asyncio.Semaphore, writer: asyncio.StreamWriter
    ) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due_at, segment = await queue.get()
            await asyncio.sleep(max(0.0, due_at - loop.time()))
            if self.dead:
                await asyncio.Event().wait()  # for ever: nobody hears anything of it
            room.release()
            if not segment:
                writer.close()
                return
            writer.write(segment)
            await writer.drain()

    def _count(self, upward: bool, size: int) -> None:
        self.wire_bytes += (size + AROUND_BYTES) * upward
