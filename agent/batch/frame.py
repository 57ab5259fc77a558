# SPDX-License-Identifier: Apache-2.0
"""The zstd frame (RFC 8878) around a batch or a catalog.

    +----------------------+------------------------------------+------------------+
    | magic, frame header  | blocks: the protobuf message       | checksum 4 bytes |
    | 28 b5 2f fd …        | one or more a section              | XXH64 of content |
    +----------------------+------------------------------------+------------------+

Each section given begins a new block, and so gets an entropy code of its own. Any zstd library reads the whole
as one; a damaged one fails its checksum.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import zstandard

from agent.errors import BatchError

if TYPE_CHECKING:
    from collections.abc import Sequence

SECTION_BYTES_MIN = 96
"""A shorter section joins its neighbour: a block and its code cost about forty bytes."""
WINDOW_LOG_MIN, WINDOW_LOG_MAX = 10, 20
TABLE_LOG_MAX = 15
MATCH_BYTES_MIN = 6
WEIGHING_LEVEL = 16
"""From here on zstd's strategy is one of the optimal ones."""
_PIECE_BYTES = 256
"""Decompressed at a time: four bytes can become 128 KiB."""
_WINDOW_BYTES_MAX = 1 << 24
"""The memory that a frame may ask for; no content is longer."""


def compress(sections: Sequence[bytes], level: int) -> bytes:
    """One zstd frame of all sections, end to end."""
    size = sum(map(len, sections))
    compressor = zstandard.ZstdCompressor(compression_params=_parameters(level, size)).compressobj(size=size)
    out = []
    pending = 0
    for section in sections:
        if pending >= SECTION_BYTES_MIN and len(section) >= SECTION_BYTES_MIN:
            out.append(compressor.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK))
            pending = 0
        out.append(compressor.compress(section))
        pending += len(section)
    out.append(compressor.flush())
    return b"".join(out)


def _parameters(level: int, size: int) -> zstandard.ZstdCompressionParameters:
    """The level's, with tables and a window to suit the size.

    By default they take megabytes, whose first touch takes three times as long as the compressing. Columns hold
    numbers, not words: a match of fewer than six bytes saves less than it costs, but for levels that weigh each.
    """
    window = min(max(size.bit_length(), WINDOW_LOG_MIN), WINDOW_LOG_MAX)
    table = min(window, TABLE_LOG_MAX)
    short = {"min_match": MATCH_BYTES_MIN} if level < WEIGHING_LEVEL else {}
    return zstandard.ZstdCompressionParameters.from_level(
        level,
        window_log=window,
        hash_log=table,
        chain_log=table,
        write_checksum=True,
        write_content_size=False,
        **short,
    )


def decompress(payload: bytes, limit_bytes: int) -> bytes:
    """The content of one zstd frame.

    Raises:
        BatchError: the bytes are no zstd frame, are damaged or cut, or hold more than `limit_bytes`.

    """
    reader = zstandard.ZstdDecompressor(max_window_size=_WINDOW_BYTES_MAX).decompressobj()
    content = bytearray()
    try:
        # A piece at a time: few bytes can claim to be a lot.
        for begin in range(0, len(payload), _PIECE_BYTES):
            content += reader.decompress(payload[begin : begin + _PIECE_BYTES])
            if len(content) > limit_bytes:
                raise BatchError(f"holds more than {limit_bytes} bytes")
            if reader.eof and (reader.unused_data or begin + _PIECE_BYTES < len(payload)):
                raise BatchError("damaged: there are bytes behind the zstd frame")
    except zstandard.ZstdError as error:
        raise BatchError(f"damaged: {error}") from None
    if not reader.eof:
        raise BatchError("damaged: the zstd frame is cut short")
    return bytes(content)
