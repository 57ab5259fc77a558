# SPDX-License-Identifier: Apache-2.0
"""A recorded log as python-can's reader has it, beside what is read here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from agent.model import FrameBlock
from agent.sources.canlib import python_can
from agent.sources.logs.logfile import read_log
from agent.sources.messages import BlockBuilder, channel_name

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

COLUMNS = ("time_ns", "bus", "can_id", "length", "flags", "data")


def messages() -> list[Any]:
    """300 data frames, classic and FD, 11 and 29 bits, on three channels, an error and a remote frame among them."""
    can = python_can()
    made = []
    for number in range(300):
        fd = number % 5 == 0
        made.append(
            can.Message(
                timestamp=1_600_000_000 + number * 0.01,
                arbitration_id=number * 1000 if number % 2 else number,
                is_extended_id=bool(number % 2),
                is_fd=fd,
                bitrate_switch=fd and number % 10 == 0,
                data=bytes(range(64 if fd else number % 9)),
                channel=number % 3,
                is_rx=True,
            )
        )
    made.insert(7, can.Message(timestamp=1_600_000_000.07, is_error_frame=True, channel=0))
    made.insert(9, can.Message(timestamp=1_600_000_000.08, arbitration_id=5, is_remote_frame=True, channel=1))
    return made


def read_alike(path: Path, reader: Iterable[Any], *, first_channel: int = 0) -> int:
    """See that the log gives what python-can's reader gives; the number of data frames.

    first_channel   of the file, where python-can counts from 0
    """
    builder = BlockBuilder()
    channels: dict[str, int] = {}
    for message in reader:
        channel = message.channel
        name = channel_name(channel + first_channel if isinstance(channel, int) else channel)
        builder.add(message, channels.setdefault(name, len(channels)))
    expected = builder.take()
    log = read_log(path)
    seen = FrameBlock.concatenate(list(log))
    for column in COLUMNS:
        np.testing.assert_array_equal(getattr(seen, column), getattr(expected, column), column)
    assert log.buses == channels
    assert sum(log.counters().remote_frames.values()) == sum(builder.remote_frames.values())
    assert sum(log.counters().error_frames.values()) == sum(builder.error_frames.values())
    assert not log.refused
    return len(seen)
