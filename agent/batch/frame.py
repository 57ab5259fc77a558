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
LEVEL_MAX = 22


def compress(sections: Sequence[bytes], level: int) -> bytes:
    """One zstd frame of all sections, end to end."""
    compressor = zstandard.ZstdCompressor(level=level, write_checksum=True, write_content_size=False).compressobj()
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


def decompress(payload: bytes, limit_bytes: int) -> bytes:
    """The content of one zstd frame.

    Raises:
        BatchError: the bytes are no zstd frame, are damaged or cut, or hold more than `limit_bytes`.

    """
    try:
        reader = zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(payload, read_across_frames=False)
        content = reader.read(limit_bytes + 1)
        if len(content) <= limit_bytes:
            tail = zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj()
            tail.decompress(payload)
            complete = tail.eof and not tail.unused_data
    except zstandard.ZstdError as error:
        raise BatchError(f"damaged: {error}") from None
    if len(content) > limit_bytes:
        raise BatchError(f"holds more than {limit_bytes} bytes")
    if not complete:
        raise BatchError("damaged: the zstd frame is cut short or has bytes behind it")
    return content
