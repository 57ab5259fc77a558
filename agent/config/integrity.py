# SPDX-License-Identifier: Apache-2.0
"""``[[integrity]]``: message counters and checksums that are verified as frames come in.

DBC files name such signals, and some declare which ones count (the attribute SigType is "MessageCounter"): these are
verified without a section. How a checksum is computed no DBC file says; only what is said here is verified.

    sum              the payload's other bits as bytes, added up, modulo the checksum's size
    xor              the same, exclusive or
    crc8-sae-j1850   CRC-8 of the payload's other bytes: polynomial 0x1D, start 0xFF, inverted (SAE J1850)
    crc8-h2f         the same with polynomial 0x2F (AUTOSAR's CRC8H2F)
    e2e-1            AUTOSAR E2E profile 1: polynomial 0x1D, start 0, not inverted; the data id first, as `data_id_mode`
                     says: "both" bytes, low one first (1A); "alternating", the low one where the counter is even,
                     else the high one (1B); "low" only; or "nibble", the low one and a zero, for the rest of the
                     data id lies in the payload (1C). The counter runs from 0 to 14
    e2e-2            AUTOSAR E2E profile 2: as crc8-h2f, and then the one of sixteen data ids that the counter selects

What must hold between the keys is said by `integrity_violations`; what must hold between them and the DBC files is
`agent.collect.integrity.protection`'s matter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta

from agent.config.collecting import Patterns  # noqa: TC001 - evaluated when a file is read
from agent.config.section import Section

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Kind = Literal["sum", "xor", "crc8-sae-j1850", "crc8-h2f", "e2e-1", "e2e-2"]
DataIdMode = Literal["both", "alternating", "low", "nibble"]
Byte = Annotated[int, Meta(ge=0, le=0xFF, description="a whole number from 0 to 255")]
DATA_IDS = 16
E2E_1_COUNTER_MAX = 14


class IntegrityConfig(Section, frozen=True, kw_only=True):
    """``[[integrity]]``: a message's counter, its checksum, or both, verified as frames come in; of several for one
    message the last one counts. Counters that the DBC file declares (``SigType`` is "MessageCounter") need no section.

    bus            the buses it is about: a name, a pattern, or a list of them
    message        the messages, likewise; required
    counter        the signal that counts the message's frames, a name or a pattern; messages without it are left out
    counter_max    after this value comes 0; unless given, all of the signal's bits, and 14 for "e2e-1"
    checksum       the signal that holds the checksum, likewise
    kind           how it is computed; "e2e-1" and "e2e-2" are AUTOSAR E2E profiles 1 and 2
    data_id        for "e2e-1": the message's own number
    data_id_mode   for "e2e-1": how it goes into the checksum
    data_ids       for "e2e-2": the message's own sixteen numbers, by counter
    start          for "sum" and "xor": what is added beside the payload
    with_id        for "sum" and "xor": the bytes of the arbitration id as well
    with_length    for "sum" and "xor": the payload's length as well
    drop           frames with a wrong checksum are not kept; unless true, they are kept, counted and told
    """

    bus: Patterns = "*"
    message: Patterns
    counter: str | None = None
    counter_max: (
        Annotated[int, Meta(ge=1, le=0xFFFF_FFFF, description="a whole number from 1 to 0xFFFFFFFF")] | None
    ) = None
    checksum: str | None = None
    kind: Kind | None = None
    data_id: Annotated[int, Meta(ge=0, le=0xFFFF, description="a whole number from 0 to 0xFFFF")] | None = None
    data_id_mode: DataIdMode = "both"
    data_ids: tuple[Byte, ...] = ()
    start: Byte = 0
    with_id: bool = False
    with_length: bool = False
    drop: bool = False


def integrity_violations(configs: Sequence[IntegrityConfig]) -> Iterator[tuple[str, str]]:
    """Key and text for everything that does not go together, whatever the DBC files say."""
    for number, config in enumerate(configs, 1):
        for key, text in _violations(config):
            yield f"integrity[#{number}].{key}", text


def _violations(config: IntegrityConfig) -> Iterator[tuple[str, str]]:
    if config.counter is None and config.checksum is None:
        yield "counter", "is missing, and so is checksum; accepted: the name of a signal for one of them, or for both"
    if config.counter is None and config.counter_max is not None:
        yield "counter_max", "has no effect without counter; accepted: with the name of a signal for that"
    if config.checksum is not None and config.kind is None:
        yield "kind", f"is missing beside checksum; accepted: {_listed(Kind)}"
    if config.checksum is None:
        for key in ("kind", "drop"):
            if getattr(config, key):
                yield key, "has no effect without checksum; accepted: with the name of a signal for that"
    yield from _e2e_violations(config)
    if config.kind not in ("sum", "xor", None):
        for key in ("start", "with_id", "with_length"):
            if getattr(config, key):
                yield key, f'has no effect on "{config.kind}"; accepted: beside kind = "sum" or "xor"'


def _e2e_violations(config: IntegrityConfig) -> Iterator[tuple[str, str]]:
    if (config.kind == "e2e-1") is (config.data_id is None):
        state = "is missing" if config.data_id is None else "has no effect"
        yield "data_id", f'{state}; accepted: a whole number from 0 to 0xFFFF, beside kind = "e2e-1"'
    if config.data_id_mode != "both" and config.kind != "e2e-1":
        yield "data_id_mode", 'has no effect; accepted: beside kind = "e2e-1"'
    if config.data_ids and config.kind != "e2e-2":
        yield "data_ids", 'has no effect; accepted: beside kind = "e2e-2"'
    if config.kind == "e2e-2" and len(config.data_ids) != DATA_IDS:
        yield "data_ids", f"are {len(config.data_ids)}; accepted: a list of {DATA_IDS} whole numbers from 0 to 255"
    needs_counter = config.kind == "e2e-2" or (config.kind == "e2e-1" and config.data_id_mode == "alternating")
    if needs_counter and config.counter is None:
        yield "counter", f'is missing, and the checksum of "{config.kind}" goes by it; accepted: the name of a signal'


def _listed(literal: object) -> str:
    return ", ".join(f'"{each}"' for each in getattr(literal, "__args__", ()))
