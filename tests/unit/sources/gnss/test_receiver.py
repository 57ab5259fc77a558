# SPDX-License-Identifier: Apache-2.0
"""A receiver as a source, over pseudo-terminals and sockets."""

from __future__ import annotations

import asyncio
import datetime as dt
import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import cantools
import pytest
from structlog.testing import capture_logs

from agent.config import gnss_dbc
from agent.model import FrameBlock
from agent.sources.gnss import gpsd
from agent.sources.gnss import receiver as gnss
from agent.sources.gnss.receiver import FRAMES_WAITING_MAX, LATE_NS_MAX, GnssSource
from agent.system.clock import GnssSyncSource, SystemClock
from tests.support.terminal import PATIENCE_S, Terminal, until
from tests.unit.sources.gnss.test_nmea import sentence

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

pytestmark = pytest.mark.timeout(120)

DATABASE: Any = cantools.database.load_file(gnss_dbc())
FIX = sentence("GPRMC,123519,A,4807.038,N,01131.000,E,022.4,084.4,231126,,,A")
RECKONED = sentence("GPRMC,123521,A,4807.038,N,01131.000,E,022.4,084.4,231126,,,E")
NO_FIX = sentence("GPRMC,123520,V,4807.038,N,01131.000,E,022.4,084.4,231126,,,N")


class HandClock(SystemClock):
    """The unit's, put forward by hand."""

    ahead_ns = 0

    def monotonic_ns(self) -> int:
        return super().monotonic_ns() + self.ahead_ns


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Terminal]:
    terminal = Terminal(tmp_path / "ttyUSB1")
    yield terminal
    terminal.unplug()


def source(channel: Path | str, **options: Any) -> GnssSource:
    return GnssSource(2, "gnss", str(channel), retry_first_s=0.01, **{"clock": SystemClock()} | options)


@asynccontextmanager
async def opened_source(receiver: Terminal, **options: Any) -> AsyncIterator[GnssSource]:
    """Listening: what was said before its port was open is not heard."""
    async with source(receiver.path, **options) as opened:
        await until(lambda: opened.states() == {"gnss": "no fix"})
        yield opened


async def drained(source: GnssSource, frames: int) -> FrameBlock:
    blocks: list[FrameBlock] = []

    def enough() -> bool:
        blocks.append(source.drain())
        return sum(map(len, blocks)) >= frames

    await until(enough)
    return FrameBlock.concatenate(blocks)


def values(block: FrameBlock) -> dict[str, float]:
    found: dict[str, float] = {}
    for can_id, length, data in zip(block.can_id, block.length, block.data, strict=True):
        message = DATABASE.get_message_by_frame_id(int(can_id))
        found |= message.decode(data[:length].tobytes(), decode_choices=False)
    return found


async def test_sentences_become_frames_with_the_time_of_their_reception(receiver: Terminal) -> None:
    clock = SystemClock()
    async with opened_source(receiver, clock=clock) as opened:
        begin_ns = clock.wall_ns()
        await receiver.say(FIX)
        block = await drained(opened, 5)
        assert opened.states() == {"gnss": "fix"}
        assert opened.counters().frames == 5
        assert not opened.exhausted
    assert set(block.bus.tolist()) == {2}
    assert all(begin_ns <= time_ns <= clock.wall_ns() for time_ns in block.time_ns.tolist())
    assert values(block) == pytest.approx(
        {
            "Quality": 1,
            "Latitude": 48.1173,
            "Longitude": 11.5166667,
            "Speed": 41.48,
            "Course": 84.4,
            "UnixTime": 1_795_437_319,
        },
        rel=1e-12,
    )


async def test_a_lost_fix_is_told_and_the_last_position_is_not_repeated(receiver: Terminal) -> None:
    async with opened_source(receiver) as opened:
        with capture_logs() as logs:
            await receiver.say(FIX)
            await drained(opened, 5)
            await receiver.say(NO_FIX * 3)
            block = await drained(opened, 3)
        assert opened.states() == {"gnss": "no fix"}
    assert values(block) == {"Quality": 0}
    assert [line["event"] for line in logs if line["event"].startswith("fix")] == ["fix_found", "fix_lost"]


async def test_noise_is_counted_and_what_comes_after_it_is_heard(receiver: Terminal) -> None:
    noise = random.Random(1).randbytes(100_000)
    async with opened_source(receiver) as opened:
        for _ in range(3):
            await receiver.say(noise + b"\n" + FIX[:30])  # cut off in the middle
            await receiver.say(FIX)
            assert values(await drained(opened, 5))["Latitude"] == pytest.approx(48.1173)
        assert opened.refused > 100


async def test_a_port_that_vanishes_is_opened_again_when_it_returns(receiver: Terminal) -> None:
    receiver.unplug()
    with capture_logs() as logs:
        async with source(receiver.path) as opened:
            await until(lambda: opened.states() == {"gnss": "down"})
            for _ in range(3):
                receiver.plug()
                await until(lambda: opened.states() == {"gnss": "no fix"})
                await receiver.say(FIX + FIX[:30])
                await drained(opened, 5)
                receiver.unplug()
                await until(lambda: opened.states() == {"gnss": "down"})
                assert len(opened.drain()) == 0
    events = [line["event"] for line in logs if line["event"].startswith("port")]
    assert events == ["port_down", *["port_up", "port_down"] * 3]
    assert all(line["reason"] and line["hint"] for line in logs if line["event"] == "port_down")


async def test_a_port_that_stays_away_is_told_once(tmp_path: Path) -> None:
    with capture_logs() as logs:
        async with source(tmp_path / "nothing", clock=SystemClock()) as opened:
            await until(lambda: opened.states() == {"gnss": "down"})
            await asyncio.sleep(0.1)  # some more attempts
    assert [line["event"] for line in logs] == ["port_down"]


async def test_a_receiver_that_says_nothing_sound_is_told_once(receiver: Terminal) -> None:
    clock = HandClock()
    with capture_logs() as logs:
        async with opened_source(receiver, clock=clock) as opened:
            await receiver.say(b"\x80\x80\xf8\n" * 7)
            await until(lambda: opened.refused == 7)
            opened.drain()
            clock.ahead_ns = int(gnss.SILENT_S * 1e9) + 1
            for _ in range(3):
                opened.drain()
            assert opened.states() == {"gnss": "silent"}
            await receiver.say(sentence("GPGSV,1,1,00"))
            await until(lambda: opened.states() == {"gnss": "no fix"})
    told = [line for line in logs if line["event"].startswith("receiver")]
    assert [line["event"] for line in told] == ["receiver_silent", "receiver_heard"]
    assert told[0]["refused"] == 7


async def test_the_clock_hears_the_time_while_there_is_a_fix(receiver: Terminal) -> None:
    clock, told = SystemClock(), list[tuple[int, int, int]]()
    async with opened_source(receiver, clock=clock, report_time=lambda *time: told.append(time)) as opened:
        before_ns = clock.monotonic_ns()
        await receiver.say(NO_FIX + FIX + NO_FIX + RECKONED)
        await drained(opened, 12)
    ((utc_ns, monotonic_ns, error_ns),) = told
    assert (utc_ns - error_ns, utc_ns + error_ns) == (1_795_437_319 * 10**9, 1_795_437_319 * 10**9 + LATE_NS_MAX)
    assert before_ns <= monotonic_ns <= clock.monotonic_ns()


async def test_a_receiver_vouches_for_a_clock_that_is_right(receiver: Terminal) -> None:
    source = GnssSyncSource()
    clock = SystemClock(sync_sources=[source])
    assert not clock.wall_trusted()
    async with opened_source(receiver, clock=clock, report_time=source.report) as opened:
        async with asyncio.timeout(PATIENCE_S):
            while not clock.wall_trusted():  # this machine may pause between the two
                now = dt.datetime.now(dt.UTC)
                time, date = f"{now:%H%M%S}.{now.microsecond // 10_000:02}", f"{now:%d%m%y}"
                await receiver.say(sentence(f"GPRMC,{time},A,4807.038,N,01131.000,E,022.4,084.4,{date},,,A"))
                await drained(opened, 5)
                await asyncio.sleep(0.1)
        await receiver.say(FIX)  # of another time
        await drained(opened, 5)
        await until(lambda: not clock.wall_trusted())


async def test_nobody_drains_and_the_queue_stays_bounded(receiver: Terminal) -> None:
    async with opened_source(receiver) as opened:
        await receiver.say(sentence("GPRMC,,V,,,,,,,,,,N") * (FRAMES_WAITING_MAX + 50))
        await until(lambda: opened.counters().dropped == 50)
        assert len(opened.drain()) == FRAMES_WAITING_MAX
        await receiver.say(NO_FIX)
        await drained(opened, 1)


async def test_a_frame_wakes_who_sleeps(receiver: Terminal) -> None:
    heard = asyncio.Event()
    async with opened_source(receiver) as opened:
        assert opened.wake(heard.set)
        await receiver.say(NO_FIX)
        await asyncio.wait_for(heard.wait(), PATIENCE_S)
        heard.clear()
        assert opened.wake(heard.set)
        assert heard.is_set()  # one waits already
        assert opened.wake(None)


@pytest.fixture
async def gpsd_at(tmp_path: Path) -> AsyncIterator[tuple[str, asyncio.Queue[asyncio.StreamWriter]]]:
    """gpsd at a UNIX socket: connections that have asked for its reports."""
    asked: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'{"class":"VERSION","release":"3.22","proto_major":3,"proto_minor":14}\r\n')
        assert await reader.readuntil(b";\n") == gpsd.WATCH
        await asked.put(writer)

    path = tmp_path / "gpsd.sock"
    async with await asyncio.start_unix_server(serve, path):
        yield f"gpsd://{path}", asked


async def test_gpsd_is_asked_heard_and_asked_again(
    gpsd_at: tuple[str, asyncio.Queue[asyncio.StreamWriter]],
) -> None:
    address, asked = gpsd_at
    async with source(address) as opened:
        for _ in range(2):
            writer = await asyncio.wait_for(asked.get(), PATIENCE_S)
            writer.write(b'{"class":"SKY","uSat":9,"hdop":0.9}\r\nnonsense\r\n')
            writer.write(b'{"class":"TPV","mode":2,"lat":48.5,"lon":-11.25,"time":"2026-11-23T06:00:00Z"}\r\n')
            found = values(await drained(opened, 6))
            assert (found["Latitude"], found["Longitude"], found["Satellites"]) == pytest.approx((48.5, -11.25, 9))
            assert opened.states() == {"gnss": "fix"}
            writer.close()
            await writer.wait_closed()
            await until(lambda: opened.states() == {"gnss": "down"} or not asked.empty())
        assert opened.refused == 2
        writer = await asyncio.wait_for(asked.get(), PATIENCE_S)
        writer.close()


async def test_gpsd_over_tcp() -> None:
    connected = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readuntil(b";\n") == gpsd.WATCH
        connected.set()
        await reader.read()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with source(f"gpsd://127.0.0.1:{port}"):
            await asyncio.wait_for(connected.wait(), PATIENCE_S)
