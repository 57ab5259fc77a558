# SPDX-License-Identifier: Apache-2.0
"""The agent's end of the socket: answers, refusals, clients that are slow or gone, sockets that are left behind."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import stat
from typing import TYPE_CHECKING

import pytest

from agent.errors import AgentError
from agent.live import client, server
from agent.live.client import NoAgentError, ask, ask_once, socket_path
from agent.live.protocol import VERSION, Answer, Definitions, ProtocolError, Request, decode_answer, encode
from agent.live.server import LiveServer, listening
from agent.pipeline.traffic import LastFrame
from tests.support.snapshots import snapshot

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from agent.live.snapshot import Snapshot

pytestmark = pytest.mark.timeout(60)
DEFINITIONS = Definitions(vehicle="car-1", buses=(), catalog="")


class Teller:
    """What the agent would tell: each update has a new frame of one id, of a size that a test chooses."""

    def __init__(self, payload: int = 8, ids: int = 1) -> None:
        self.asked = 0
        self.payload, self.ids = payload, ids
        self.fault: Exception | None = None
        self.levels: list[str] = []

    async def status(self) -> Snapshot:
        if self.fault:
            raise self.fault
        return snapshot()

    def set_log_level(self, level: str) -> None:
        self.levels.append(level)

    def definitions(self) -> Definitions:
        return DEFINITIONS

    async def frames(self, after: int, limit: int) -> tuple[Sequence[LastFrame], int]:
        self.asked += 1
        stamp = after + 1
        return [LastFrame(0, number, -1, stamp, stamp, "00" * self.payload) for number in range(self.ids)], stamp

    def wall_ns(self) -> int:
        return self.asked


@contextlib.asynccontextmanager
async def serving(path: Path, teller: Teller | None = None) -> AsyncIterator[LiveServer]:
    with listening(path) as sock:
        live = LiveServer(sock, teller or Teller())
        running = asyncio.create_task(live.run())
        yield live
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


async def asked(path: Path, question: str) -> list[Answer]:
    return await asyncio.to_thread(lambda: list(ask(path, question)))


async def until(condition: object) -> None:
    while not condition():  # type: ignore[operator]
        await asyncio.sleep(0.01)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "agent.sock"


async def test_each_question_has_its_answer(path: Path) -> None:
    async with serving(path):
        assert await asked(path, "status") == [Answer(version=VERSION, snapshot=snapshot())]
        assert await asked(path, "definitions") == [Answer(version=VERSION, definitions=DEFINITIONS)]
        defined, frames = await asked(path, "frames")
        assert defined.definitions == DEFINITIONS
        assert frames.frames is not None
        assert [row[3] for row in frames.frames.rows] == [1]


async def test_the_level_of_the_log_is_set_for_who_asks_so(path: Path) -> None:
    teller = Teller()
    async with serving(path, teller):
        await asyncio.to_thread(ask_once, path, "status", log_level="debug")
        await asyncio.to_thread(ask_once, path, "status")
        with pytest.raises(ProtocolError, match=r'log_level "all"; accepted: debug, info, warning, error'):
            await asyncio.to_thread(ask_once, path, "status", log_level="all")
    assert teller.levels == ["debug"]


async def test_the_group_may_ask_and_nobody_else(path: Path) -> None:
    async with serving(path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        assert [entry.name for entry in path.parent.iterdir()] == ["agent.sock"]
    assert not path.exists()


async def test_updates_come_until_the_client_leaves(path: Path) -> None:
    teller = Teller()
    async with serving(path, teller) as live:
        answers = await asyncio.to_thread(lambda: ask(path, "frames", every_s=0.05))
        counts = []
        for _ in range(4):
            answer = await asyncio.to_thread(next, answers)
            counts += [] if answer.frames is None else [row[3] for row in answer.frames.rows]
        assert counts == [1, 2, 3]
        await asyncio.to_thread(answers.close)  # type: ignore[attr-defined]
        await until(lambda: not live.clients)
        before = teller.asked
        await asyncio.sleep(0.2)
        assert teller.asked == before


async def test_a_reader_that_stands_still_skips_updates_and_is_told_how_many(path: Path) -> None:
    teller = Teller(payload=64, ids=1000)
    async with serving(path, teller) as live, contextlib.AsyncExitStack() as stack:
        reader, writer = await asyncio.open_unix_connection(str(path), limit=1 << 24)
        stack.callback(writer.close)
        reader._transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(encode(Request(version=VERSION, ask="frames", every_ms=50)))
        await until(lambda: live.skipped >= 3)
        asked_for = teller.asked
        await until(lambda: live.skipped >= 5)
        assert teller.asked == asked_for
        reader._transport.resume_reading()  # type: ignore[attr-defined]
        skipped = 0
        stamps: list[int] = []
        while not skipped:
            frames = decode_answer(await reader.readline()).frames
            if frames is not None:
                skipped, stamps = frames.skipped, [*stamps, frames.rows[0][3]]
        assert skipped >= 5
        assert stamps == list(range(1, asked_for + 2))


async def test_a_reader_that_stands_still_for_long_is_let_go(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "STUCK_S", 0.3)
    async with serving(path, Teller(payload=64, ids=4000)) as live:
        with socket.socket(socket.AF_UNIX) as stuck:
            stuck.connect(str(path))
            stuck.sendall(encode(Request(version=VERSION, ask="frames", every_ms=50)))
            await until(lambda: live.clients == 1)
            await until(lambda: live.clients == 0)


async def test_further_clients_are_told_that_there_is_no_place(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "CLIENTS_MAX", 1)
    async with serving(path) as live:
        first = await asyncio.to_thread(lambda: ask(path, "frames", every_s=1.0))
        await asyncio.to_thread(next, first)
        with pytest.raises(ProtocolError, match="1 others are attached"):
            await asked(path, "status")
        await asyncio.to_thread(first.close)  # type: ignore[attr-defined]
        await until(lambda: not live.clients)
        assert await asked(path, "status")


def test_a_refusal_that_comes_before_the_question_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as full:
        full.bind(str(path))
        full.listen()

        def refused_first(question: Request) -> bytes:
            connection, _ = full.accept()
            with connection:
                connection.sendall(encode(Answer(version=VERSION, error="8 others are attached already")))
            return encode(question)

        monkeypatch.setattr(client, "encode", refused_first)
        with pytest.raises(ProtocolError, match="8 others are attached"):
            ask_once(path, "status")


async def test_a_client_that_asks_nothing_is_let_go(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "REQUEST_S", 0.1)
    async with serving(path):
        reader, writer = await asyncio.open_unix_connection(str(path))
        assert await reader.read() == b""
        writer.close()


@pytest.mark.parametrize("line", [b"GET / HTTP/1.1\r\n", b"x" * 10_000, b'{"version": 9, "ask": "status"}\n'])
async def test_nonsense_ends_its_own_connection_only(path: Path, line: bytes) -> None:
    async with serving(path):
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(line)
        said = await reader.read()
        assert b"\n" not in line or b'"error"' in said
        writer.close()
        assert await asked(path, "status")


async def test_a_fault_in_answering_ends_its_own_connection_only(path: Path) -> None:
    teller = Teller()
    teller.fault = RuntimeError("a defect")
    async with serving(path, teller):
        with pytest.raises(NoAgentError, match="without an answer"):
            await asyncio.to_thread(ask_once, path, "status")
        teller.fault = None
        assert await asked(path, "status")


def test_a_socket_that_a_dead_process_left_is_replaced(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with pytest.raises(NoAgentError, match="no agent answers there"):
        ask_once(path, "status")
    with listening(path):
        assert path.is_socket()


def test_a_socket_that_is_answered_is_left_alone(path: Path) -> None:
    with listening(path) as sock:
        before = path.stat().st_ino
        with pytest.raises(AgentError, match="another agent answers there"), listening(path):
            pass
        assert path.stat().st_ino == before
        assert sock.fileno() >= 0


def test_a_file_of_another_kind_is_left_alone(path: Path) -> None:
    path.write_text("mine")
    with pytest.raises(AgentError, match="no socket"), listening(path):
        pass
    assert path.read_text() == "mine"


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(AgentError, match="no such file or directory"), listening(tmp_path / "none" / "agent.sock"):
        pass


def test_the_socket_of_a_successor_is_not_taken_away(path: Path) -> None:
    with listening(path) as ours:
        ours.close()
        with contextlib.ExitStack() as successor:
            successor.enter_context(listening(path))
            kept = successor.pop_all()
    assert path.is_socket()
    kept.close()
    assert not path.exists()


def test_a_user_outside_the_group_is_told_what_to_do(path: Path) -> None:
    assert "usermod -aG canferry USER" in client.connect_error(path, PermissionError(13, "Permission denied"))


def test_the_socket_is_the_one_named_or_configured_or_the_default(tmp_path: Path) -> None:
    config = tmp_path / "agent.toml"
    head = '[vehicle]\nid = "c"\n[[bus]]\nname = "b"\ninterface = "simulator"\n[mqtt]\nbroker = "mqtt://h"\n[agent]\n'
    config.write_text(head + 'socket = "/x/y.sock"\n')
    missing = tmp_path / "missing.toml"
    assert str(socket_path(tmp_path / "s", config, missing)) == str(tmp_path / "s")
    assert str(socket_path(None, config, missing)) == "/x/y.sock"
    assert str(socket_path(None, None, config)) == "/x/y.sock"
    assert str(socket_path(None, None, missing)) == "/run/canferry/agent.sock"
    config.write_text(head + 'socket = ""\n')
    with pytest.raises(AgentError, match=r'agent\.socket: ""'):
        socket_path(None, config, missing)
