# SPDX-License-Identifier: Apache-2.0
"""What of ``[[integrity]]`` cannot be verified with the DBC files, with the nearest name where one was meant."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.collect.conditions.names import nearest
from agent.collect.integrity.protection import COUNTER_BITS_MAX, covered, place_of, whole_byte
from agent.collect.patterns import Patterns

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from agent.config.integrity import IntegrityConfig
    from agent.model import MessageDefinition, SignalDefinition

SUM_BITS_MAX = 16


def broken_guards(
    messages: Sequence[MessageDefinition], configs: Sequence[IntegrityConfig]
) -> Iterator[tuple[str, str]]:
    """Key and text for each section that the DBC files do not bear out."""
    for number, config in enumerate(configs, 1):
        where = f"integrity[#{number}]"
        meant = covered(messages, config)
        if not meant:
            written = Patterns(config.message).written
            advice = nearest(written[0], [message.name for message in messages]) if len(written) == 1 else ""
            yield f"{where}.message", f"the DBC files have no such message{advice}"
            continue
        for key, name in (("counter", config.counter), ("checksum", config.checksum)):
            if name is None:
                continue
            having = [messages[index] for index in meant if place_of(messages[index], name) >= 0]
            if not having:
                names = [signal.name for index in meant for signal in messages[index].signals]
                yield f"{where}.{key}", f'no message that it names has a signal "{name}"{nearest(name, names)}'
            for message in having:
                signal = message.signals[place_of(message, name)]
                text = _unfit_counter(signal, config) if key == "counter" else _unfit_checksum(signal, config)
                if text:
                    yield f"{where}.{key}", f"{message.bus}.{message.name}.{signal.name} {text}"


def _unfit_counter(signal: SignalDefinition, config: IntegrityConfig) -> str:
    if signal.is_float or signal.length > COUNTER_BITS_MAX:
        return f"cannot count; accepted: a whole number of at most {COUNTER_BITS_MAX} bits"
    if config.counter_max is not None and config.counter_max >> signal.length:
        return f"has {signal.length} bits, too few for counter_max = {config.counter_max}"
    if config.kind == "e2e-2" and signal.length > 4:
        return f'has {signal.length} bits; accepted for "e2e-2": 4, for sixteen data ids'
    return ""


def _unfit_checksum(signal: SignalDefinition, config: IntegrityConfig) -> str:
    if signal.is_float:
        return "is a float; accepted: a whole number"
    if config.kind == "sum":
        return "" if signal.length <= SUM_BITS_MAX else f"has {signal.length} bits; accepted: at most {SUM_BITS_MAX}"
    return "" if whole_byte(signal) >= 0 else f'is not one whole byte, as "{config.kind}" is'
