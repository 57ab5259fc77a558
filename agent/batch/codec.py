# SPDX-License-Identifier: Apache-2.0
"""Batches to bytes and back.

    bytes of a batch = one zstd frame with content checksum [ canferry.Batch (batch.proto), version 1 ]

    section of the zstd frame            fields of the message
    head                                 1…19   id, catalog, times, clock, gaps, unknown and partial frames, events
    groups                               20…28  one entry a group: message, id, rows, begin, period, shapes
    columns                              30…35  one entry a column: kind and pool, first value; lines; sparse ones
    pools                                36…40  the numbers of all other columns

Times are written in units of the resolution: row i of a group was received at

    (base + begin + (i * period >> 8) + column[i]) * time_unit_ns

where `column` is the group's column of times, read like any other (`columns.py`); the period is the group's own
average, in 1/256 units, so that for a message sent on time the column is constant and costs nothing. A time is
off by at most half a unit. All other numbers are lossless.
"""

from __future__ import annotations

from agent.batch.content import Batch, Group, Header, UnknownCount
from agent.batch.decoder import decode_batch
from agent.batch.encoder import VERSION, encode_batch

__all__ = [
    "VERSION",
    "Batch",
    "Group",
    "Header",
    "UnknownCount",
    "decode_batch",
    "encode_batch",
]
