# SPDX-License-Identifier: Apache-2.0
"""``[[integrity]]`` against the DBC files: which signal of which message counts its frames, which is its checksum.

A counter that the DBC file itself declares is verified without being named; a section for its message comes before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from agent.config.integrity import E2E_1_COUNTER_MAX, IntegrityConfig
from agent.config.patterns import Patterns, nearest
from agent.decode.plan import field_bits

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from agent.model import MessageDefinition, SignalDefinition


COUNTER_BITS_MAX = 32
PAYLOAD_MAX = 64


@dataclass(frozen=True, slots=True)
class MessageProtection:
    """What a message is verified by.

    counter, checksum   indexes of its signals, -1 where it has none
    counter_max         after this value comes 0
    bits                of the checksum
    mask                uint8 (64,), the payload's bits that are not the checksum's
    byte                where the checksum lies, for a kind that goes by bytes; -1 else
    """

    config: IntegrityConfig
    counter: int
    counter_max: int
    checksum: int
    bits: int
    mask: NDArray[np.uint8]
    byte: int


def protections_of(
    messages: Sequence[MessageDefinition], configs: Sequence[IntegrityConfig]
) -> dict[int, MessageProtection]:
    """The protection of each message that has one, by its index; of configurations in which nothing is broken."""
    protections = {
        index: protection for index, each in enumerate(messages) if (protection := _declared(each)) is not None
    }
    for config in configs:
        for index in covered(messages, config):
            message = messages[index]
            counter = place_of(message, config.counter)
            checksum = place_of(message, config.checksum)
            if counter >= 0 or checksum >= 0:
                protections[index] = _protection(message, config, counter, checksum)
    return protections


def _declared(message: MessageDefinition) -> MessageProtection | None:
    """The protection of a message that its DBC file is enough for."""
    for index, signal in enumerate(message.signals):
        if signal.counter and not signal.is_float and signal.length <= COUNTER_BITS_MAX:
            return _protection(message, IntegrityConfig(message=message.name, counter=signal.name), index, -1)
    return None


def covered(messages: Sequence[MessageDefinition], config: IntegrityConfig) -> list[int]:
    """Indexes of the messages that a section is about."""
    bus, name = Patterns(config.bus), Patterns(config.message)
    return [index for index, each in enumerate(messages) if bus.match(each.bus) and name.match(each.name)]


def place_of(message: MessageDefinition, pattern: str | None) -> int:
    """The first signal whose name matches."""
    if pattern is None:
        return -1
    match = Patterns(pattern).match
    return next((index for index, signal in enumerate(message.signals) if match(signal.name)), -1)


def _protection(message: MessageDefinition, config: IntegrityConfig, counter: int, checksum: int) -> MessageProtection:
    mask = np.full(PAYLOAD_MAX, 0xFF, np.uint8)
    counter_max, bits, byte = 0, 0, -1
    if counter >= 0:
        full = (1 << message.signals[counter].length) - 1
        counter_max = config.counter_max or (E2E_1_COUNTER_MAX if config.kind == "e2e-1" else full)
    if checksum >= 0:
        signal = message.signals[checksum]
        bits, byte = signal.length, whole_byte(signal)
        for bit in field_bits(signal):
            mask[bit >> 3] &= ~np.uint8(1 << (bit & 7))
    return MessageProtection(config, counter, counter_max, checksum, bits, mask, byte)


def whole_byte(signal: SignalDefinition) -> int:
    """Which byte of the payload a signal is, -1 where it is not one."""
    aligned = signal.start % 8 == (0 if signal.little_endian else 7)
    return signal.start // 8 if signal.length == 8 and aligned else -1


SUM_BITS_MAX = 16


def protection_violations(
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
