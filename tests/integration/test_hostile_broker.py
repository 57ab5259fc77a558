# SPDX-License-Identifier: Apache-2.0
"""A broker that breaks the protocol, or floods: it costs the connection, no batch, and hardly any memory."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sys
from typing import TYPE_CHECKING, Any

import pytest

from agent.uplink.credentials import tls_context
from agent.uplink.mqtt_subscriber import MqttSubscriber
from agent.uplink.mqtt_transport import MqttTransport
from tests.support.mosquitto import Certificates
from tests.support.scripted import ScriptedBroker, puback
from tests.support.uplinks import options, rig

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ROOM_BYTES = 10 << 20
FLOOD_BYTES = 300 << 20
AGENT = f"""
import asyncio, resource, sys
from agent.uplink.mqtt_transport import MqttTransport
from agent.uplink.options import MqttOptions

async def main():
    port, version = int(sys.argv[1]), sys.argv[2]
    transport = MqttTransport(MqttOptions("127.0.0.1", port, tls=False, version=version))
    async with transport.connect() as link:
        now = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + {ROOM_BYTES}, -1))
        print("up", flush=True)
        print((await link.lost()).reason)

asyncio.run(main())
"""


def publish(qos: int, packet_id: int, size: int = 60_000) -> bytes:
    """PUBLISH in either version: an empty property list is the payload's first byte in 3.1.1."""
    body = b"\x00\x03x/y" + (packet_id.to_bytes(2, "big") if qos else b"") + b"\x00" + bytes(size)
    length, digits = len(body), bytearray()
    while length > 127:
        digits.append(length & 127 | 128)
        length >>= 7
    return bytes([0x30 | qos << 1, *digits, length]) + body


FLOODS: dict[str, Callable[[int], bytes]] = {
    "QoS 0": lambda number: publish(0, number),
    "QoS 1": lambda number: publish(1, number),
    "QoS 1, small": lambda number: publish(1, number, 1) * 1000,
    "QoS 2": lambda number: publish(2, number),
    "PUBREL": lambda number: (b"\x62\x02" + number.to_bytes(2, "big")) * 1000,
    "PUBREC": lambda number: (b"\x50\x02" + number.to_bytes(2, "big")) * 1000,
    "PINGREQ": lambda number: b"\xc0\x00" * 1000,
    "a packet of 256 MB": lambda number: (b"\x32\xff\xff\xff\x7f" if number == 1 else b"") + bytes(60_000),
}


class Flood:
    """Lets whoever connects in, and sends one kind of packet until nobody reads it."""

    def __init__(self, packet: Callable[[int], bytes]) -> None:
        self._packet = packet
        self.begin = asyncio.Event()
        self.sent = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.CancelledError):
            connect = await reader.read(1000)
            writer.write(b"\x20\x03\x00\x00\x00" if connect[8] == 5 else b"\x20\x02\x00\x00")
            await self.begin.wait()
            for number in itertools.cycle(range(1, 65_536)):
                writer.write(flood := self._packet(number))
                self.sent += len(flood)
                await writer.drain()
                if self.sent > FLOOD_BYTES:
                    break
        writer.close()


@pytest.mark.parametrize("version", ["5", "3.1.1"])
@pytest.mark.parametrize("kind", FLOODS)
async def test_a_flood_costs_the_agent_the_connection_and_hardly_any_memory(kind: str, version: str) -> None:
    flood = Flood(FLOODS[kind])
    async with await asyncio.start_server(flood.serve, "127.0.0.1", 0) as server:
        port = str(server.sockets[0].getsockname()[1])
        pipe = asyncio.subprocess.PIPE
        agent = await asyncio.create_subprocess_exec(sys.executable, "-c", AGENT, port, version, stdout=pipe)
        assert agent.stdout is not None
        assert await agent.stdout.readline() == b"up\n"
        flood.begin.set()
        reason = (await agent.stdout.read()).decode()
        assert await agent.wait() == 0
    assert "the broker" in reason
    assert "understood" not in reason, "found out before memory was short"
    assert flood.sent < FLOOD_BYTES


@pytest.mark.parametrize("kind", [0x50, 0x70], ids=["PUBREC", "PUBCOMP"])
@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_only_a_puback_acknowledges_a_batch(tmp_path: Path, kind: int, version: Any) -> None:
    def answer(publish: Any) -> bytes:
        return bytes([kind]) + puback(publish)[1:] if len(broker.connects) < 3 else puback(publish)

    async with ScriptedBroker(answer=answer) as broker:
        with rig(tmp_path, options(broker.port, version=version)) as made:
            await made.append(b"batch")
            async with made.running():
                await broker.until(lambda: len(broker.connects) == 2)
                assert "a packet that nothing of ours asks for (PUB" in made.sender.state().last_error
                assert await made.stored() == [0]
                await made.emptied()
    assert [connect.client_id for connect in broker.connects] == ["canferry-car-1"] * 3


async def test_the_broker_is_told_how_much_it_may_send() -> None:
    async with ScriptedBroker() as broker:
        async with MqttTransport(options(broker.port)).connect():
            pass
        async with MqttSubscriber(options(broker.port, will_topic=""), ["x/y"], window=7):
            pass
    told = [(connect.receive_maximum, connect.packet_bytes_max) for connect in broker.connects]
    assert told == [(1, 64 << 10), (7, 32 << 20)]


def test_keys_of_a_connection_are_written_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    made = Certificates.make(tmp_path / "made")
    context = tls_context(options(1, tls=True, ca=made.ca))
    assert not context.keylog_filename
    assert not (tmp_path / "keys").exists()
