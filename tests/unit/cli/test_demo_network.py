# SPDX-License-Identifier: Apache-2.0
"""The demo's cellular link: it relays, it fades, it is gone, it comes back on the same port."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from agent.cli.demo_run.network import CellularLink

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def echoing() -> AsyncIterator[tuple[CellularLink, asyncio.Queue[bytes]]]:
    """A link to a peer that answers everything with itself; and what the peer has got."""
    got: asyncio.Queue[bytes] = asyncio.Queue()

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(4096):
            got.put_nowait(data)
            writer.write(data)
        writer.transport.abort()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with CellularLink(server.sockets[0].getsockname()[1]) as link:
        yield link, got
    server.close()


@asynccontextmanager
async def connected(link: CellularLink) -> AsyncIterator[Streams]:
    reader, writer = await asyncio.open_connection("127.0.0.1", link.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def ended(reader: asyncio.StreamReader) -> bool:
    try:
        return await reader.read(1) == b""
    except ConnectionError:
        return True


async def test_both_directions_get_through_and_are_counted() -> None:
    async with echoing() as (link, _), connected(link) as (reader, writer):
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        assert link.bytes_sent == 5


async def test_cut_ends_connections_and_new_ones_too_until_it_is_restored() -> None:
    async with echoing() as (link, _):
        async with connected(link) as (reader, writer):
            writer.write(b"hello")
            await reader.readexactly(5)
            await link.cut()
            assert not link.up
            assert await ended(reader)
        async with connected(link) as (reader, _):
            assert await ended(reader)
        link.restore()
        async with connected(link) as (reader, writer):
            writer.write(b"again")
            assert await reader.readexactly(5) == b"again"


async def test_while_it_fades_what_is_sent_arrives_and_its_answer_does_not() -> None:
    async with echoing() as (link, got), connected(link) as (reader, writer):
        writer.write(b"hello")
        await reader.readexactly(5)
        await got.get()
        fading = asyncio.create_task(link.cut(fading_s=10))
        await asyncio.sleep(0)  # the cut has begun
        writer.write(bytes(1000))
        await fading
        assert await got.get() == bytes(1000)
        assert await ended(reader)
