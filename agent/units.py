# SPDX-License-Identifier: Apache-2.0
"""Durations, sizes and rates as people write them: a number and a unit.

Promise: `Duration`, `Size` and `Rate` are plain whole numbers (nanoseconds, bytes, bytes per second) that can
be computed with, and print as they would be written: ``str(Duration.parse("0.5s")) == "500ms"``. Limits: no
negative ones; decimal fractions are exact, and what is finer than the unit counted in is refused. Failure:
`ValueError`, whose text says what the value is not; `accepted` says what would be.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import ClassVar, Self

_WRITTEN = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,9})?)\s?([A-Za-z]+)(/s)?")


class Quantity(int):
    """A whole number of `base` units; the subclasses say which."""

    noun: ClassVar[str]
    accepted: ClassVar[str]
    units: ClassVar[dict[str, int]]
    zero: ClassVar[str]
    per_second: ClassVar[bool] = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """The quantity that ``text`` writes, such as "10s"; raises ValueError."""
        match = _WRITTEN.fullmatch(text)
        if match is None or match[2] not in cls.units or bool(match[3]) is not cls.per_second:
            raise ValueError(f"not {cls.noun}")
        value = Fraction(match[1]) * cls.units[match[2]]
        if value.denominator != 1:
            raise ValueError(f"finer than the smallest step of {cls.noun}")
        return cls(int(value))

    def __str__(self) -> str:
        whole = {unit: factor for unit, factor in self.units.items() if self % factor == 0}
        unit = self.zero if not self else max(whole, key=whole.__getitem__)
        return f"{int(self) // self.units[unit]}{unit}" + ("/s" if self.per_second else "")


class Duration(Quantity):
    """Nanoseconds."""

    noun = "a duration"
    accepted = 'a number and a unit, such as "500ms", "10s", "5m", "2h"'
    units: ClassVar[dict[str, int]] = {
        "ns": 1,
        "us": 1_000,
        "ms": 1_000_000,
        "s": 1_000_000_000,
        "m": 60_000_000_000,
        "h": 3_600_000_000_000,
    }
    zero = "s"

    @property
    def seconds(self) -> float:
        """The same in seconds, as asyncio wants it."""
        return int(self) / 1_000_000_000


_BYTES = {
    "B": 1,
    "kB": 1000,
    "KB": 1000,
    "KiB": 1 << 10,
    "MB": 10**6,
    "MiB": 1 << 20,
    "GB": 10**9,
    "GiB": 1 << 30,
}


class Size(Quantity):
    """Bytes."""

    noun = "a size"
    accepted = 'a number and a unit, such as "48KiB", "512MiB", "200MB", "2GiB"'
    units = _BYTES
    zero = "B"


class Rate(Quantity):
    """Bytes per second."""

    noun = "a rate"
    accepted = 'a size per second, such as "20KiB/s", "1MB/s"'
    units = _BYTES
    zero = "B"
    per_second = True
