# SPDX-License-Identifier: Apache-2.0
"""What all sections of the configuration have in common."""

from __future__ import annotations

from dataclasses import dataclass

from msgspec import Struct


@dataclass(frozen=True)
class Within:
    """Bounds of a quantity, written as in the file, or of a number, as digits; both ends are accepted."""

    low: str
    high: str


class Section(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all sections have in common."""
