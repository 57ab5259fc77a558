# SPDX-License-Identifier: Apache-2.0
"""How large a batch may be for the broker: as it names a Maximum Packet Size, or as its refusals (0x95) teach.

What is larger is not published, and not given up either: it waits, because a limit can be raised. Where none is named,
each refusal lowers the one that is presumed; that is forgotten after `retry_s`, or when a larger batch is taken.
Batches to come are to be sealed so that they fit: to the named limit, to half of what was refused.

Pure; the time is passed in.
Limits: no batch is asked to be sealed smaller than `SEAL_BYTES_MIN`: it would be nothing but its own frame.
"""

from __future__ import annotations

from dataclasses import dataclass

SEAL_BYTES_MIN = 1 << 10


@dataclass(slots=True)
class SizeLimit:
    """Of payloads.

    named   by the broker, of this link; None: it names none
    """

    retry_s: float
    named: int | None = None
    _refused: int | None = None
    _until: float = 0.0

    @property
    def payload_bytes(self) -> int | None:
        """The largest that is published; None: any."""
        presumed = None if self._refused is None else self._refused - 1
        return min((limit for limit in (self.named, presumed) if limit is not None), default=None)

    @property
    def seal_bytes(self) -> int | None:
        """The largest that is to be sealed from now on; None: as configured."""
        presumed = None if self._refused is None else self._refused // 2
        wanted = min((limit for limit in (self.named, presumed) if limit is not None), default=None)
        return None if wanted is None else max(SEAL_BYTES_MIN, wanted)

    def refused(self, size_bytes: int, now: float) -> None:
        """It is too large, says the broker."""
        self._refused = min(size_bytes, self._refused or size_bytes)
        self._until = now + self.retry_s

    def taken(self, size_bytes: int) -> bool:
        """The broker has taken so much; True where that is more than was presumed."""
        if self._refused is None or size_bytes < self._refused:
            return False
        self._refused = None
        return True

    def release(self, now: float) -> bool:
        """Presume nothing any more, where that was long enough ago; True where it was."""
        if self._refused is None or now < self._until:
            return False
        self._refused = None
        return True

    def next_at(self) -> float | None:
        """When what is presumed is forgotten."""
        return None if self._refused is None else self._until
