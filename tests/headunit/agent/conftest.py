# SPDX-License-Identifier: Apache-2.0
"""Tests that need SocketCAN itself: collected only where `test_agent_on_vcan` has prepared a place for them."""

from __future__ import annotations

import os

collect_ignore_glob = [] if os.environ.get("CANFERRY_INSIDE") else ["test_*.py"]
