# SPDX-License-Identifier: Apache-2.0
"""What ModemManager's objects say of the cellular network: pure. ModemManager's D-Bus reference, version 1.20.

    /org/freedesktop/ModemManager1/Modem/0
        …Modem             State, StateFailedReason, UnlockRequired, AccessTechnologies, SignalQuality
        …Modem.Modem3gpp   RegistrationState (numbered as <stat> of 3GPP TS 27.007, 7.2), OperatorName
        …Modem.Signal      Lte, Nr5g, Umts, Gsm: levels in dB and dBm, where somebody has asked for them (Signal.Setup)

Promise: `state_of` takes any objects and raises nothing; what is not there, is of another type or out of range is
unknown. Of several modems the first one that is registered counts, else the first.

Limits: without levels the signal is what its percentage stands for (of -113 dBm to -51 dBm), and 0 % is unknown.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from agent.uplink.cellular.network import OPERATOR_CHARACTERS_MAX, ModemState, Registration, Sim

if TYPE_CHECKING:
    from collections.abc import Mapping

    Properties = Mapping[str, tuple[str, Any]]
    Objects = Mapping[str, Mapping[str, Properties]]
    """By path and interface; a value with its D-Bus signature."""

NAME = "org.freedesktop.ModemManager1"
ROOT = "/org/freedesktop/ModemManager1"
_MODEM, _3GPP, _SIGNAL = f"{NAME}.Modem", f"{NAME}.Modem.Modem3gpp", f"{NAME}.Modem.Signal"

_FAILED, _LOCKED = -1, 2
_FAILED_REASONS = {2: Sim.ABSENT, 3: Sim.ABSENT}
"""MMModemStateFailedReason: SIM missing, SIM error."""
_UNLOCKED = 1
_TECHNOLOGIES = ((15, 15, "5G"), (17, 17, "NB-IoT"), (14, 16, "4G"), (5, 13, "3G"), (1, 4, "2G"))
"""Bits of MMModemAccessTechnology, from and to; the best that is in use counts."""
_LEVELS = {
    "rsrp": (("Lte", "Nr5g"), -140, -30),
    "rsrq": (("Lte", "Nr5g"), -40, 20),
    "rssi": (("Lte", "Umts", "Gsm"), -130, -20),
}
"""Name, where it is told, and within which limits it is believed."""


def state_of(objects: Objects) -> ModemState | None:
    """How the modem stands; None where there is none."""
    found = [_state(objects[path]) for path in sorted(objects, key=_number) if _MODEM in objects[path]]
    registered = (Registration.HOME, Registration.ROAMING)
    return next((state for state in found if state.registration in registered), found[0] if found else None)


def _number(path: str) -> tuple[int, str]:
    digits = path.rpartition("/")[2]
    return (int(digits) if digits.isascii() and digits.isdecimal() else 1 << 30, path)


def _state(interfaces: Mapping[str, Properties]) -> ModemState:
    modem, network = interfaces[_MODEM], interfaces.get(_3GPP, {})
    operator = _get(network, "OperatorName", str, "")[:OPERATOR_CHARACTERS_MAX]
    levels = interfaces.get(_SIGNAL, {})
    rsrp, rssi = _level(levels, "rsrp"), _level(levels, "rssi")
    if rsrp is None and rssi is None:
        rssi = _of_quality(_get(modem, "SignalQuality", tuple, ()))
    return ModemState(
        sim=_sim(modem),
        lte=_get(network, "RegistrationState", int, None),
        operator=operator if operator.isprintable() else "",
        technology=_technology(_get(modem, "AccessTechnologies", int, 0)),
        rssi_dbm=None if rssi is None else round(rssi),
        rsrp_dbm=None if rsrp is None else round(rsrp),
        rsrq_db=_level(levels, "rsrq"),
    )


def _sim(modem: Properties) -> Sim:
    state = _get(modem, "State", int, 0)
    if state == _FAILED:
        return _FAILED_REASONS.get(_get(modem, "StateFailedReason", int, 0), Sim.UNKNOWN)
    if state == _LOCKED:
        return Sim.LOCKED
    return Sim.READY if _get(modem, "UnlockRequired", int, 0) == _UNLOCKED or state > _LOCKED else Sim.UNKNOWN


def _technology(bits: int) -> str:
    for first, last, name in _TECHNOLOGIES:
        if bits >> first & ((1 << last - first + 1) - 1):
            return name
    return ""


def _level(levels: Properties, name: str) -> float | None:
    """Of the first radio that tells it."""
    radios, least, most = _LEVELS[name]
    for radio in radios:
        value: float = _get(_get(levels, radio, dict, {}), name, float, math.nan)
        if least <= value <= most:
            return value
    return None


def _of_quality(answer: tuple[Any, ...]) -> float | None:
    """Percent, and whether that is recent: ModemManager counts them from -113 dBm to -51 dBm."""
    if len(answer) != 2 or not isinstance(answer[0], int) or not 0 < answer[0] <= 100:
        return None
    return -113 + answer[0] * 0.62


def _get(properties: Properties, name: str, kind: type, default: Any) -> Any:
    """A property's value, where it is of this type."""
    answer = properties.get(name)
    value = answer[1] if isinstance(answer, tuple) and len(answer) == 2 else None
    return value if isinstance(value, kind) and not isinstance(value, bool) else default
