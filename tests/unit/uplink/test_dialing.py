# SPDX-License-Identifier: Apache-2.0
"""Whether there is a way to the broker, as the kernel's routes say."""

from __future__ import annotations

import errno
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from agent.uplink.dialing import control_congestion, has_route

if TYPE_CHECKING:
    import pytest


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
