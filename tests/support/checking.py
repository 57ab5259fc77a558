# SPDX-License-Identifier: Apache-2.0
"""`canferry check` in this process, its findings read, and a broker that answers a login."""

from __future__ import annotations

import json
import queue
import socket
import threading
from typing import TYPE_CHECKING, Any

from agent import cli

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

CONFIG = """
[vehicle]
id = "demo-0001"
[[bus]]
name = "car"
interface = "simulator"
dbc = ["small.dbc"]
[spool]
path = "spool"
limit = "8MiB"
segment = "1MiB"
min_free = "0B"
[mqtt]
broker = "mqtt://127.0.0.1:{port}"
"""

SMALL_DBC = 'BU_: X\nBO_ 1 GOOD: 8 X\n SG_ A : 0|8@1+ (1,0) [0|0] "" X\n'


class Broker(threading.Thread):
    """Answers each CONNECT with one CONNACK; `heard` is what came on each connection."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.code = 0
        self.heard: queue.Queue[bytes] = queue.Queue()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]

    def run(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            with connection:
                came = connection.recv(4096)
                connection.sendall(bytes((0x20, 3, 0, self.code, 0)))
                said = connection.recv(4096)
                if said[:1] == b"\x34":  # PUBLISH with QoS 2
                    connection.sendall(b"\x50\x02" + _published(connection, said))
                    said = connection.recv(4096)
                self.heard.put(came + said)

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.join()


def _published(connection: socket.socket, packet: bytes) -> bytes:
    """Read the rest of a PUBLISH; its packet id."""
    length, shift, head = 0, 0, 1
    while True:
        length |= (packet[head] & 0x7F) << shift
        shift, head = shift + 7, head + 1
        if packet[head - 1] < 0x80:
            break
    while len(packet) < head + length:
        packet += connection.recv(1 << 16)
    topic = int.from_bytes(packet[head : head + 2], "big")
    return packet[head + 2 + topic :][:2]


class Checked:
    """Runs the command on a configuration and keeps its findings."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.capsys = folder, capsys
        self.file = folder / "agent.toml"
        (folder / "small.dbc").write_text(SMALL_DBC)

    def run(self, text: str, *options: str) -> tuple[int, list[dict[str, Any]]]:
        self.file.write_text(text)
        status = cli.main(["check", "--config", str(self.file), "--json", *options])
        document = json.loads(self.capsys.readouterr().out)
        assert document["errors"] == sum(finding["level"] == "error" for finding in document["findings"])
        return status, document["findings"]

    def only(self, text: str, level: str, *options: str) -> str:
        """The one finding of a level, as text."""
        _, findings = self.run(text, *options)
        (found,) = [finding for finding in findings if finding["level"] == level]
        return f"{found['subject']}: {found['text']}"


def offline(text: str = CONFIG) -> str:
    return text.format(port=1883)
