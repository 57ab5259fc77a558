# SPDX-License-Identifier: Apache-2.0
"""A recorded log as if it were happening now: the interface `replay`.

Promise: `drain()` gives the frames that are due, at the log's own pace or `speed` times it. Their times are
moved so that the first frame is due when the source is opened; at another speed the times between frames
shrink or grow with it, as they would on a bus that is that fast. When the log has ended, `exhausted` is true.

Limits: `drain_frames_max` frames a drain; what is due beyond comes in the next. A drain may read a piece of
the file (some milliseconds), it never waits. What a log's clock was set by takes no time (`logs/pace.py`).

Failure: a log that cannot be opened, or that has none of the buses asked for, is a LogFileError when the source
is opened; one of them that does not come soon is logged. A log that turns out unreadable on the way is logged, and
ends there: the live buses beside it go on.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Self

import structlog

from agent.errors import LogFileError
from agent.model import DRAIN_FRAMES_MAX, FrameBlock, SourceCounters
from agent.sources.logs.channels import ADVICE, look
from agent.sources.logs.logfile import LogReader, log_channels, read_log
from agent.sources.logs.pace import LogPace

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from types import TracebackType

    from agent.sources.logs.channels import Channels

__all__ = ["LogReader", "ReplaySource", "log_channels", "read_log"]

log = structlog.get_logger()

_BLOCK_FRAMES = 4096
_PIECE_BYTES = 1 << 17


class ReplaySource:
    """Plays a log; `buses` maps its channel names to bus indexes, None: every channel in order of appearance.

    names   what the buses are called, by channel name; unless given, as the channels are. The only channel of a
            log is the only bus, if that is called as the channel it asks for: see channels.py
    """

    def __init__(
        self,
        path: Path,
        *,
        buses: Mapping[str, int] | None = None,
        names: Mapping[str, str] | None = None,
        speed: float = 1.0,
        drain_frames_max: int = DRAIN_FRAMES_MAX,
        monotonic: Callable[[], float] = time.monotonic,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        if speed <= 0:
            raise ValueError(f"speed is {speed}; it has to be positive")
        self._path = path
        self._buses = buses
        self._names = dict(names or {})
        self._speed = speed
        self._drain_frames_max = drain_frames_max
        self._monotonic = monotonic
        self._wall_ns = wall_ns
        self._reader: LogReader | None = None
        self._waiting = FrameBlock.empty()
        self._pace = LogPace()
        self._begun_s = 0.0
        self._begun_ns = 0
        self._ended = False
        self._delivered = 0

    async def __aenter__(self) -> Self:
        if self._buses is not None:
            self._buses = self._found(self._buses, look(self._path))
        self._reader = read_log(self._path, buses=self._buses, frames_max=_BLOCK_FRAMES, piece_bytes=_PIECE_BYTES)
        self._begun_s = self._monotonic()
        self._begun_ns = self._wall_ns()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._reader is not None:
            self._reader.close()

    def _found(self, buses: Mapping[str, int], log_has: Channels) -> dict[str, int]:
        """The buses by the channels that they turn out to be, or that may still come."""
        wanted = {channel: self._name(channel) for channel in buses}
        found = log_has.assign(wanted)
        missing = {channel: bus for channel, bus in wanted.items() if bus not in found.values()}
        path, channels = str(self._path), list(log_has.names)
        if log_has.whole and channels and not found:
            raise LogFileError(f"{path}: {log_has.lack(*missing)}; {ADVICE}")
        for channel, bus in missing.items():
            if channels:
                log.warning("log_bus_missing", path=path, bus=bus, reason=log_has.lack(channel), hint=ADVICE)
        for channel, bus in found.items():
            if channel not in wanted:
                log.info("log_channel_taken", path=path, channel=channel, bus=bus)
        index = {wanted[channel]: number for channel, number in buses.items()}
        self._names |= found
        return {channel: index[bus] for channel, bus in (missing | found).items()}

    @property
    def exhausted(self) -> bool:
        """True when the log's last frame has been delivered."""
        return self._ended and not len(self._waiting)

    @property
    def drain_within_s(self) -> float:
        """What is due waits in the log."""
        return math.inf

    def states(self) -> dict[str, str]:
        """By bus name: up until the log has ended."""
        channels = self._reader.buses if self._reader else {}
        return dict.fromkeys(map(self._name, channels), "ended" if self.exhausted else "up")

    def counters(self) -> SourceCounters:
        """Error and remote frames are counted when they are read, a little before they are due."""
        if self._reader is None:
            return SourceCounters()
        read = self._reader.counters()
        errors, remotes = (
            {self._name(channel): count for channel, count in counted.items()}
            for counted in (read.error_frames, read.remote_frames)
        )
        return replace(read, frames=self._delivered, error_frames=errors, remote_frames=remotes)

    def _name(self, channel: str) -> str:
        return self._names.get(channel, channel)

    def wake(self, _heard: Callable[[], None] | None, /) -> bool:
        """What comes is a matter of time."""
        return False

    def drain(self) -> FrameBlock:
        """The frames that have become due since the last call."""
        due_ns = round((self._monotonic() - self._begun_s) * 1e9 * self._speed)
        blocks = []
        room = self._drain_frames_max
        while room:
            if not len(self._waiting) and not self._next_block():
                break
            block = self._take_due(due_ns, room)
            if not len(block):
                break
            blocks.append(block)
            room -= len(block)
            self._delivered += len(block)
        return FrameBlock.concatenate(blocks)

    def _next_block(self) -> bool:
        """Read on; False where the log has ended."""
        if self._ended or self._reader is None:
            return False
        try:
            block = next(self._reader)
            self._waiting = replace(block, time_ns=self._pace.elapsed_ns(block.time_ns))
        except StopIteration:
            self._ended = True
            ignored = self._reader.ignored
            log.info("log_replayed", path=str(self._path), frames=self._delivered, frames_ignored=ignored)
        except LogFileError as error:
            self._ended = True
            path, reason = str(self._path), str(error)
            log.error("log_file_refused", path=path, reason=reason, frames_before=self._delivered)  # noqa: TRY400
        return not self._ended

    def _take_due(self, due_ns: int, room: int) -> FrameBlock:
        """The waiting frames up to the first that is not due, with their times of now."""
        waiting = self._waiting
        offset_ns = waiting.time_ns
        later = offset_ns > due_ns
        count = min(int(later.argmax()) if later.any() else len(waiting), room)
        due, self._waiting = waiting.slice(0, count), waiting.slice(count, len(waiting))
        offset_ns = offset_ns[:count]
        if self._speed != 1:
            offset_ns = (offset_ns / self._speed).astype(offset_ns.dtype)
        return replace(due, time_ns=offset_ns + self._begun_ns)
