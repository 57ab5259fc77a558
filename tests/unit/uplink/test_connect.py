# SPDX-License-Identifier: Apache-2.0
"""Whether there is a way to the broker, as the kernel's routes say; and what blocks while one gets there."""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent.uplink.connect import control_congestion, has_route, open_socket
from agent.uplink.options import MqttOptions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


def test_there_is_a_route_to_an_address_that_the_unit_itself_has() -> None:
    assert has_route("127.0.0.1")


def test_a_unit_without_any_route_has_none_to_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Offline(socket.socket):
        def connect(self, address: tuple[str, int]) -> None:  # type: ignore[override]
            asked.append(address[0])
            raise OSError(errno.ENETUNREACH, "Network is unreachable")

    monkeypatch.setattr(socket, "socket", Offline)
    assert not has_route("broker.example")
    assert asked == ["192.0.2.1", "2001:db8::1"]
    assert not has_route("198.51.100.7")
    assert asked[2:] == ["198.51.100.7"]


def test_congestion_is_controlled_as_configured_and_where_the_kernel_has_it() -> None:
    available = Path("/proc/sys/net/ipv4/tcp_allowed_congestion_control").read_text().split()
    with socket.socket() as sock:
        assert control_congestion(sock, available[0])
        told = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16)
        assert told.rstrip(b"\0").decode() == available[0]


def test_a_congestion_control_that_the_kernel_has_not_leaves_its_own() -> None:
    with socket.socket() as sock:
        before = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16)
        assert not control_congestion(sock, "nonesuch")
        assert control_congestion(sock, "")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16) == before


class SlowSocket(socket.socket):
    """Whose handshake takes as long as `go_on` is not set, as with a TPM that stands still."""

    def __init__(self, plain: socket.socket, go_on: threading.Event) -> None:
        super().__init__(fileno=plain.detach())
        self.go_on, self.begun, self.over = go_on, threading.Event(), threading.Event()

    def do_handshake(self) -> None:
        self.begun.set()
        self.go_on.wait()
        assert self.fileno() >= 0, "closed while it was in use"
        self.over.set()


class SlowContext:
    """Of TLS."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.made: list[SlowSocket] = []

    def wrap_socket(self, plain: socket.socket, **_: object) -> SlowSocket:
        self.made.append(SlowSocket(plain, self.go_on))
        return self.made[-1]


@pytest.fixture
async def dialed() -> AsyncIterator[tuple[SlowContext, asyncio.Task[socket.socket]]]:
    """A connection in the middle of its handshake."""
    context = SlowContext()
    with socket.create_server(("127.0.0.1", 0)) as server:
        options = MqttOptions(*server.getsockname())
        task = asyncio.create_task(open_socket(options, context))  # type: ignore[arg-type]
        while not (context.made and context.made[0].begun.is_set()):
            await asyncio.sleep(0)
        yield context, task
        context.go_on.set()
        task.cancel()
        await asyncio.wait([task])


async def test_a_handshake_that_blocks_does_not_block_the_loop(
    dialed: tuple[SlowContext, asyncio.Task[socket.socket]],
) -> None:
    context, task = dialed
    await asyncio.sleep(0.01)
    assert not task.done()
    context.go_on.set()
    async with asyncio.timeout(10):
        with await task as sock:
            assert sock is context.made[0]


async def test_a_handshake_that_is_given_up_is_closed_when_it_is_over(
    dialed: tuple[SlowContext, asyncio.Task[socket.socket]],
) -> None:
    context, task = dialed
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    (sock,) = context.made
    assert sock.fileno() >= 0
    context.go_on.set()
    async with asyncio.timeout(10):
        while sock.fileno() >= 0:
            await asyncio.sleep(0)
    assert sock.over.is_set()
