# SPDX-License-Identifier: Apache-2.0
"""What is told in the log of how a modem stands with the network, whoever says it: each change once."""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from agent.uplink.cellular.network import ModemState, Registration, Sim

log = structlog.get_logger()

_ADVICE = {
    Sim.ABSENT: "insert the SIM, or look at its contacts",
    Sim.LOCKED: "unlock it, or take its PIN away, with what dials (ModemManager, …)",
}


@dataclass(frozen=True, slots=True)
class _Standing:
    """What is worth a line when it changes."""

    registration: Registration
    operator: str
    technology: str


class NetworkLog:
    """Of one modem. `where`: what it is reached by, for the log."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._told = _standing(ModemState())

    def sim(self, before: ModemState, now: ModemState) -> None:
        """Warn where the SIM has become one that does not work."""
        if now.sim is not before.sim and now.sim in _ADVICE:
            log.warning("sim_missing", port=self._where, sim=str(now.sim), hint=_ADVICE[now.sim])

    def network(self, state: ModemState) -> None:
        """One line where the network has changed."""
        standing = _standing(state)
        if standing == self._told:
            return
        before, self._told = self._told, standing
        log.info(
            "network_changed",
            registration=str(standing.registration),
            before=str(before.registration),
            operator=standing.operator,
            technology=standing.technology,
            rsrp_dbm=state.rsrp_dbm,
            rssi_dbm=state.rssi_dbm,
        )


def _standing(state: ModemState) -> _Standing:
    return _Standing(state.registration, state.operator, state.technology)
