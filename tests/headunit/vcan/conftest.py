# SPDX-License-Identifier: Apache-2.0
"""Tests that need SocketCAN itself: collected only where `test_on_vcan` has prepared a place for them.

Each test has vcan interfaces of its own, which go when it ends.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.headunit.vcan.bus import Bus, ip

if TYPE_CHECKING:
    from collections.abc import Iterator

collect_ignore_glob = [] if os.environ.get("CANFERRY_INSIDE") else ["test_*.py"]


@pytest.fixture
def buses() -> Iterator[tuple[Bus, Bus]]:
    """Two buses, vcan0 and vcan1, that carry classic and FD frames."""
    pair = (Bus("vcan0"), Bus("vcan1"))
    for bus in pair:
        bus.create()
    yield pair
    for bus in pair:
        bus.close()
        ip("link", "delete", bus.name, check=False)


@pytest.fixture
def late_bus() -> Iterator[Bus]:
    """A bus, vcan2, that is still to be created."""
    bus = Bus("vcan2")
    yield bus
    bus.close()
    ip("link", "delete", bus.name, check=False)
