# SPDX-License-Identifier: Apache-2.0
"""The commands' end of the agent's socket: one request, and its answers.

Promise: answers are decoded, and of a known version. A status has the bitrates of this machine's CAN interfaces, which
the agent's service may not read: it may not open netlink sockets.
Limits: an answer takes at most `ANSWER_S`, a line at most `LINE_BYTES_MAX`.
Failure: NoAgentError where nobody answers, with what to do; ProtocolError where the agent refuses, or where a line is
not of the protocol.
"""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from agent.config import AgentConfig, load_config
from agent.errors import AgentError, ConfigError
from agent.live.protocol import VERSION, Answer, ProtocolError, Request, decode_answer, encode
from agent.sources.rtnetlink import read_links

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from agent.live.snapshot import Snapshot

ANSWER_S = 10.0
LINE_BYTES_MAX = 64 << 20
_PIECE_BYTES = 1 << 16


class NoAgentError(AgentError):
    """No agent answers at the socket."""


def socket_path(socket: Path | None, config: Path | None, default_config: Path) -> Path:
    """Where to ask: as given, as a configuration says, else as the default one says, else the default.

    Raises:
        ConfigError: the configuration that was named cannot be read, or says that there is no socket.

    """
    if socket is not None:
        return socket
    configured = AgentConfig().socket
    if config is not None:
        configured = load_config(config).agent.socket
    else:
        with contextlib.suppress(ConfigError):  # the agent may run with what the file said before
            configured = load_config(default_config).agent.socket
    if not configured:
        raise ConfigError(
            f'{config or default_config}: agent.socket: ""; accepted here: a path, so that the agent answers'
        )
    return Path(configured)


def ask(path: Path, asked: str, *, every_s: float = 0.0, log_level: str = "") -> Iterator[Answer]:
    """The agent's answers, until it ends the connection or the iterator is closed."""
    with _connected(path) as sock:
        sock.settimeout(ANSWER_S + every_s)
        try:
            every_ms = round(every_s * 1e3)
            with contextlib.suppress(BrokenPipeError):  # it has refused before it was asked, and said why
                sock.sendall(encode(Request(version=VERSION, ask=asked, every_ms=every_ms, log_level=log_level)))
            for line in _lines(sock):
                yield decode_answer(line)
        except TimeoutError:
            raise NoAgentError(
                f"{path}: the agent does not answer within {ANSWER_S:.0f} s: systemctl status canferry"
            ) from None
        except OSError as error:
            raise NoAgentError(f"{path}: {(error.strerror or str(error)).lower()}") from error


def ask_once(path: Path, asked: str, *, log_level: str = "") -> Answer:
    """The one answer to a question that has one."""
    for answer in ask(path, asked, log_level=log_level):
        return answer
    raise NoAgentError(f"{path}: the agent ended the connection without an answer")


def _connected(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(ANSWER_S)
        sock.connect(str(path))
    except OSError as error:
        sock.close()
        raise NoAgentError(connect_error(path, error)) from error
    return sock


def connect_error(path: Path, error: OSError) -> str:
    """Why nobody could be asked at a path, and what to do."""
    if isinstance(error, PermissionError):
        return f"{path}: may not be asked by this user: use sudo, or usermod -aG canferry USER and log in anew"
    if isinstance(error, FileNotFoundError | ConnectionRefusedError):
        return f"{path}: no agent answers there: systemctl status canferry, or give its --config or --socket"
    return f"{path}: {(error.strerror or str(error)).lower()}"


def _lines(sock: socket.socket) -> Iterator[bytes]:
    waiting = bytearray()
    while piece := sock.recv(_PIECE_BYTES):
        waiting += piece
        if b"\n" in piece:
            *lines, rest = waiting.split(b"\n")
            waiting = rest
            yield from map(bytes, lines)
        elif len(waiting) > LINE_BYTES_MAX:
            raise ProtocolError("the agent sends a line without end")


def with_bitrates(snapshot: Snapshot, bitrates: Mapping[str, int]) -> Snapshot:
    """The snapshot with what the agent does not know of its SocketCAN buses."""
    buses = tuple(
        msgspec.structs.replace(bus, bitrate=bitrates.get(bus.channel))
        if bus.interface == "socketcan" and bus.bitrate is None
        else bus
        for bus in snapshot.buses
    )
    return msgspec.structs.replace(snapshot, buses=buses)


def read_bitrates() -> dict[str, int]:
    """Bits per second by interface name, of those that have a bitrate."""
    return {name: link.bitrate for name, link in read_links().items() if link.bitrate}
