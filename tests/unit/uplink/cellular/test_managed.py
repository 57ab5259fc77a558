# SPDX-License-Identifier: Apache-2.0
"""What ModemManager's objects say, and what they say wrongly."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.uplink.cellular.managed import NAME, state_of
from agent.uplink.cellular.network import ModemState, Registration, Sim

MODEM, NETWORK, SIGNAL = f"{NAME}.Modem", f"{NAME}.Modem.Modem3gpp", f"{NAME}.Modem.Signal"


def one(modem: dict[str, Any] | None = None, **interfaces: dict[str, Any]) -> ModemState:
    named = {"network": NETWORK, "signal": SIGNAL}
    told = {MODEM: modem or {}} | {named[name]: properties for name, properties in interfaces.items()}
    state = state_of({f"{NAME}/Modem/0": told})
    assert state is not None
    return state


def test_there_is_no_modem_where_no_object_is_one() -> None:
    assert state_of({}) is None
    assert state_of({"/sim": {"org.freedesktop.ModemManager1.Sim": {}}}) is None


@pytest.mark.parametrize(
    ("bits", "technology"),
    [(1 << 14, "4G"), (1 << 14 | 1 << 15, "5G"), (1 << 8, "3G"), (1 << 3, "2G"), (1 << 17, "NB-IoT"), (0, "")],
)
def test_the_best_technology_in_use_counts(bits: int, technology: str) -> None:
    assert one({"AccessTechnologies": ("u", bits)}).technology == technology


@pytest.mark.parametrize(
    ("modem", "sim"),
    [
        ({"State": ("i", -1), "StateFailedReason": ("u", 2)}, Sim.ABSENT),
        ({"State": ("i", 2), "UnlockRequired": ("u", 2)}, Sim.LOCKED),
        ({"State": ("i", 8), "UnlockRequired": ("u", 0)}, Sim.READY),
        ({}, Sim.UNKNOWN),
    ],
)
def test_the_sim_is_what_state_and_lock_say(modem: dict[str, Any], sim: Sim) -> None:
    assert one(modem).sim is sim


def test_without_levels_the_percentage_paces() -> None:
    assert one({"SignalQuality": ("(ub)", (58, True))}).rssi_dbm == -77
    assert one({"SignalQuality": ("(ub)", (5, True))}).weak
    assert one({"SignalQuality": ("(ub)", (0, False))}).rssi_dbm is None


def test_a_level_out_of_range_is_unknown() -> None:
    state = one(signal={"Lte": ("a{sv}", {"rsrp": ("d", 0.0), "rsrq": ("d", float("nan"))})})
    assert (state.rsrp_dbm, state.rsrq_db) == (None, None)
    assert one(signal={"Nr5g": ("a{sv}", {"rsrp": ("d", -120.0)})}).weak


def test_of_several_modems_the_registered_one_counts() -> None:
    objects = {
        "/Modem/10": {MODEM: {}, NETWORK: {"RegistrationState": ("u", 1)}},
        "/Modem/2": {MODEM: {}, NETWORK: {"RegistrationState": ("u", 2)}},
    }
    state = state_of(objects)
    assert state is not None
    assert state.registration is Registration.HOME


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.tuples(inner, inner) | st.dictionaries(st.sampled_from(["rsrp", "rssi", "rsrq"]), inner),
    max_leaves=5,
)
NAMES = "State StateFailedReason UnlockRequired AccessTechnologies SignalQuality RegistrationState OperatorName Lte Gsm"
PROPERTIES = st.dictionaries(
    st.sampled_from(NAMES.split()),
    ANYTHING | st.tuples(st.text(max_size=2), ANYTHING),
)


@given(st.dictionaries(st.sampled_from([MODEM, NETWORK, SIGNAL]), PROPERTIES))
def test_whatever_is_said_nothing_raises(interfaces: dict[str, Any]) -> None:
    state = state_of({"/Modem/0": interfaces})
    assert (state is None) == (MODEM not in interfaces)
    assert state is None or str(state)
