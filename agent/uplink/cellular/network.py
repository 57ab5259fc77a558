# SPDX-License-Identifier: Apache-2.0
"""What a modem says of the cellular network, a line at a time: pure. 3GPP TS 27.007.

    +CPIN: READY              8.3      the SIM
    +CREG: 2,1,"1A2B","01"    7.2      registration, circuit switched; +CEREG (10.1.22) likewise, of LTE
    +COPS: 0,0,"operator",7   7.3      operator and access technology
    +CSQ: 18,99               8.5      signal strength
    +CESQ: 99,99,255,255,…    8.69     the same, of LTE as well
    +CME ERROR: 10            9.2.1    among others: there is no SIM

Promise: `updated` takes any line, an answer or one that comes unasked, and gives the state after it; what it does not
know, or what does not have the form of these, changes nothing. 99 and 255 mean unknown and become None.

`NetworkLog` logs each change once, whoever reports it.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass, replace

import structlog


class Registration(enum.StrEnum):
    """How the unit stands with the network."""

    HOME = "home"
    ROAMING = "roaming"
    SEARCHING = "searching"
    DENIED = "denied"
    NONE = "no service"
    UNKNOWN = "unknown"


class Sim(enum.StrEnum):
    """What the SIM is."""

    READY = "ready"
    LOCKED = "locked"  # it wants a PIN or a PUK
    ABSENT = "absent"  # none, or one that does not work
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class ModemState:
    """What is known of the network; the defaults are what is known before the modem has said anything.

    lte, circuit           <stat> of +CEREG and of +CREG; None where it was not told
    operator, technology   "" where unknown; technology is "2G", "3G", "4G", "NB-IoT" or "5G"
    rssi_dbm               received signal strength, all of it
    rsrp_dbm, rsrq_db      power and quality of LTE's reference signals
    """

    sim: Sim = Sim.UNKNOWN
    lte: int | None = None
    circuit: int | None = None
    operator: str = ""
    technology: str = ""
    rssi_dbm: int | None = None
    rsrp_dbm: int | None = None
    rsrq_db: float | None = None

    @property
    def registration(self) -> Registration:
        """Registered where either of both is; else what LTE says, else the other."""
        answer = [
            _STATUSES.get(status, Registration.UNKNOWN) for status in (self.lte, self.circuit) if status is not None
        ]
        for registration in answer:
            if registration in (Registration.HOME, Registration.ROAMING):
                return registration
        return answer[0] if answer else Registration.UNKNOWN

    @property
    def roaming(self) -> bool:
        """Registered with another operator than the SIM's."""
        return self.registration is Registration.ROAMING

    @property
    def weak(self) -> bool:
        """The signal is about to be lost: what is sent now takes the most energy and the most attempts."""
        if self.rsrp_dbm is not None:
            return self.rsrp_dbm <= RSRP_WEAK_DBM
        return self.rssi_dbm is not None and self.rssi_dbm <= RSSI_WEAK_DBM

    def __str__(self) -> str:
        """For a person: home operator 4G -95dBm."""
        signal = self.rssi_dbm if self.rsrp_dbm is None else self.rsrp_dbm
        sim = f"SIM {self.sim}" if self.sim in (Sim.ABSENT, Sim.LOCKED) else ""
        strength = "" if signal is None else f"{signal}dBm" + (" weak" if self.weak else "")
        return " ".join(filter(None, [sim, str(self.registration), self.operator, self.technology, strength]))


RSRP_WEAK_DBM = -118
RSSI_WEAK_DBM = -109
_STATUSES = {
    0: Registration.NONE,
    1: Registration.HOME,
    2: Registration.SEARCHING,
    3: Registration.DENIED,
    4: Registration.UNKNOWN,
    5: Registration.ROAMING,
    6: Registration.NONE,  # for short messages only
    7: Registration.NONE,
    8: Registration.NONE,  # for emergency calls only
    9: Registration.HOME,
    10: Registration.ROAMING,
}
_TECHNOLOGIES = {
    **dict.fromkeys((0, 1, 3, 8), "2G"),
    **dict.fromkeys((2, 4, 5, 6), "3G"),
    **dict.fromkeys((7, 10), "4G"),
    9: "NB-IoT",
    **dict.fromkeys((11, 12, 13), "5G"),
}
OPERATOR_CHARACTERS_MAX = 32
_LINE = re.compile(r"\+(CPIN|CREG|CEREG|COPS|CSQ|CESQ|CME ERROR): ?(.*)")
_SIM_ERRORS = {10: Sim.ABSENT, 13: Sim.ABSENT, 15: Sim.ABSENT, 11: Sim.LOCKED, 12: Sim.LOCKED}
"""+CME ERROR: not inserted, failure, wrong; PIN required, PUK required."""


def updated(state: ModemState, line: str) -> ModemState:
    """The state after this line."""
    match = _LINE.fullmatch(line)
    if match is None:
        return state
    name, values = match[1], [value.strip() for value in match[2].split(",")]
    if name == "CPIN":
        return replace(state, sim=Sim.READY if match[2].strip() == "READY" else Sim.LOCKED)
    if name == "CME ERROR":
        return _error(state, match[2].strip())
    if name == "COPS":
        return _operator(state, values)
    if name in ("CREG", "CEREG"):
        status = _status(values)
        if status is None:
            return state
        return replace(state, lte=status) if name == "CEREG" else replace(state, circuit=status)
    numbers = [_number(value) for value in values]
    if name == "CSQ":
        return replace(state, rssi_dbm=_level(numbers, 0, 31, -113, 2))
    half = _level(numbers, 4, 34, -40)
    rsrq_db = None if half is None else half / 2
    return replace(state, rsrp_dbm=_level(numbers, 5, 97, -141), rsrq_db=rsrq_db)


def _error(state: ModemState, answer: str) -> ModemState:
    """A number, or where the modem insists on it a text."""
    sim = _SIM_ERRORS.get(_number(answer) or -1)
    if sim is None and answer.lower() == "sim not inserted":
        sim = Sim.ABSENT
    if sim is None:
        return state
    return ModemState(sim) if sim is Sim.ABSENT else replace(state, sim=sim)


def _status(values: list[str]) -> int | None:
    """<stat>: the second of an answer <n>,<stat>[,…], the first of what comes unasked, <stat>[,"<tac>",…]."""
    asked = len(values) > 1 and re.fullmatch(r"[0-9]{1,2}", values[1]) is not None
    return _number(values[1] if asked else values[0])


def _operator(state: ModemState, values: list[str]) -> ModemState:
    """<mode>[,<format>,<oper>[,<AcT>]]."""
    operator = values[2].strip('"')[:OPERATOR_CHARACTERS_MAX] if len(values) > 2 else ""
    number = _number(values[3]) if len(values) > 3 else None
    technology = "" if number is None else _TECHNOLOGIES.get(number, "")
    return replace(state, operator=operator if operator.isprintable() else "", technology=technology)


def _level(numbers: list[int | None], place: int, most: int, lowest: int, step: int = 1) -> int | None:
    """A level that counts from `lowest` in steps; None where it is beyond `most`, as 99 and 255 are."""
    number = numbers[place] if len(numbers) > place else None
    return None if number is None or number > most else lowest + number * step


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[0-9]{1,3}", text) else None


log = structlog.get_logger()

_ADVICE = {
    Sim.ABSENT: "insert the SIM, or look at its contacts",
    Sim.LOCKED: "unlock it, or take its PIN away, with what dials (ModemManager, …)",
}


@dataclass(frozen=True, slots=True)
class _NetworkStatus:
    """What is worth a line when it changes."""

    registration: Registration
    operator: str
    technology: str


class NetworkLog:
    """Of one modem. `where`: what it is reached by, for the log."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._logged = _status_of(ModemState())

    def sim(self, before: ModemState, now: ModemState) -> None:
        """Warn where the SIM has become one that does not work."""
        if now.sim is not before.sim and now.sim in _ADVICE:
            log.warning("sim_missing", port=self._where, sim=str(now.sim), hint=_ADVICE[now.sim])

    def network(self, state: ModemState) -> None:
        """One line where the network has changed."""
        status = _status_of(state)
        if status == self._logged:
            return
        before, self._logged = self._logged, status
        log.info(
            "network_changed",
            registration=str(status.registration),
            before=str(before.registration),
            operator=status.operator,
            technology=status.technology,
            rsrp_dbm=state.rsrp_dbm,
            rssi_dbm=state.rssi_dbm,
        )


def _status_of(state: ModemState) -> _NetworkStatus:
    return _NetworkStatus(state.registration, state.operator, state.technology)
