# SPDX-License-Identifier: Apache-2.0
"""A signal as cantools sees it and as a definition says it, in one comparable form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agent.model import SignalDefinition

RAW_VALUES = (0, 1, 3, 1 << 40)


def as_cantools_says(signal: Any) -> tuple[object, ...]:
    """A cantools signal; what it computes is told with its type, by `repr`."""
    return (
        signal.name,
        signal.start,
        signal.length,
        signal.byte_order,
        signal.is_signed,
        signal.is_float,
        repr(signal.minimum),
        repr(signal.maximum),
        signal.unit or "",
        {int(raw): str(name) for raw, name in (signal.choices or {}).items()},
        signal.is_multiplexer,
        signal.multiplexer_signal,
        sorted(signal.multiplexer_ids or ()) if signal.multiplexer_signal else [],
        *(repr(signal.conversion.raw_to_scaled(raw, decode_choices=False)) for raw in RAW_VALUES),
    )


def as_defined(signal: SignalDefinition) -> tuple[object, ...]:
    """The same of a definition; `scale` and `offset` are applied as they are."""

    def scaled(raw: int) -> int | float:
        return raw if (signal.scale, signal.offset) == (1, 0) else raw * signal.scale + signal.offset

    return (
        signal.name,
        signal.start,
        signal.length,
        "little_endian" if signal.little_endian else "big_endian",
        signal.signed,
        signal.is_float,
        repr(signal.minimum),
        repr(signal.maximum),
        signal.unit,
        dict(signal.choices),
        signal.multiplexor,
        signal.selected_by,
        [raw for low, high in signal.selected_when for raw in range(low, high + 1)],
        *(repr(scaled(raw)) for raw in RAW_VALUES),
    )
