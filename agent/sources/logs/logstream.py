# SPDX-License-Identifier: Apache-2.0
"""Opens a recorded log, compressed or not, and tells its format.

Promise: what can be decompressed is delivered to the last byte, even where the file ends too early or turns
out broken: the stream then simply ends, and `LogStream.torn` or `LogStream.damage` says so.

Limits: the format is told by the file's name, without a compression's suffix; a name that tells nothing is a
candump log where its first line begins with a parenthesis.

Failure: a name that tells nothing, of a file that looks like nothing, is a ValueError which says what is
read; what the file system says is its OSError.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from typing import TYPE_CHECKING, BinaryIO, Protocol, cast

if TYPE_CHECKING:
    from pathlib import Path

    from _typeshed import WriteableBuffer
    from zstandard import ZstdDecompressionObj

FORMATS = (".log", ".asc", ".blf", ".trc", ".csv", ".mf4")
COMPRESSIONS = (".xz", ".gz", ".bz2", ".zst")
ACCEPTED = f"{' '.join(FORMATS)}, also compressed: {' '.join(COMPRESSIONS)}"

_PACKED_BYTES = 1 << 14


class _Readable(Protocol):
    def read1(self, size: int, /) -> bytes: ...

    def close(self) -> object: ...


class LogStream(io.RawIOBase):
    """The decompressed bytes of a log.

    torn     the compressed file ended before its end
    damage   why it could not be decompressed any further; None: it could
    """

    def __init__(self, inner: _Readable) -> None:
        self._inner = inner
        self.torn = False
        self.damage: Exception | None = None

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill the buffer from one read; 0 at the end, whatever kind of end it is."""
        view = memoryview(buffer).cast("B")
        try:
            piece = b"" if self.torn or self.damage else self._inner.read1(len(view))
        except EOFError:
            self.torn, piece = True, b""
        except _decompression_errors() as error:
            self.damage, piece = error, b""
        view[: len(piece)] = piece
        return len(piece)

    def close(self) -> None:
        """Close the file too."""
        if not self.closed:
            self._inner.close()
        super().close()


class _ZstdReader:
    """A Zstandard file that ends within a frame is an EOFError, as the other compressions' readers have it.

    zstandard's own reader simply ends there.
    """

    def __init__(self, file: BinaryIO) -> None:
        import zstandard

        self._file = file
        self._decompressor = zstandard.ZstdDecompressor()
        self._frame: ZstdDecompressionObj | None = None  # None: between two frames
        self._packed = b""
        self._ready = memoryview(b"")

    def read1(self, size: int, /) -> bytes:
        """At most so many bytes; none at the end."""
        while not self._ready:
            packed = self._packed or self._file.read(_PACKED_BYTES)
            if not packed:
                if self._frame is not None:
                    raise EOFError
                return b""
            self._frame = self._frame or self._decompressor.decompressobj()
            self._ready, self._packed = memoryview(self._frame.decompress(packed)), b""
            if self._frame.eof:
                self._packed, self._frame = self._frame.unused_data, None
        piece, self._ready = self._ready[:size], self._ready[size:]
        return bytes(piece)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def open_log(path: Path) -> LogStream:
    """The log's bytes, decompressed on the way; OSError where the file cannot be opened."""
    suffix = path.suffix.lower()
    if suffix == ".xz":
        return LogStream(lzma.open(path))
    if suffix == ".gz":
        return LogStream(cast("_Readable", gzip.open(path)))
    if suffix == ".bz2":
        return LogStream(bz2.open(path))
    if suffix == ".zst":
        return LogStream(_ZstdReader(path.open("rb")))
    return LogStream(path.open("rb"))


def log_format(path: Path, beginning: bytes) -> str:
    """One of `FORMATS`, by the file's name, else by its first bytes; ValueError where neither tells."""
    bare = path.with_suffix("") if path.suffix.lower() in COMPRESSIONS else path
    suffix = bare.suffix.lower()
    if suffix in FORMATS:
        return suffix
    if beginning.lstrip().startswith(b"("):
        return ".log"
    raise ValueError(f"unknown log format {suffix or bare.name!r}; read are {ACCEPTED}")


def _decompression_errors() -> tuple[type[Exception], ...]:
    import zstandard

    return (OSError, lzma.LZMAError, zlib.error, zstandard.ZstdError)
