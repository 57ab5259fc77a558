# SPDX-License-Identifier: Apache-2.0
"""Lines of modems, and what is known after them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.uplink.cellular.network import ModemState, Registration, Sim, updated


def state_after(*lines: str) -> ModemState:
    state = ModemState()
    for line in lines:
        state = updated(state, line)
    return state


@pytest.mark.parametrize(
    ("line", "state"),
    [
        ("+CPIN: READY", ModemState(sim=Sim.READY)),
        ("+CPIN: SIM PIN", ModemState(sim=Sim.LOCKED)),
        ("+CME ERROR: 10", ModemState(sim=Sim.ABSENT)),
        ("+CME ERROR: SIM not inserted", ModemState(sim=Sim.ABSENT)),
        ("+CME ERROR: 12", ModemState(sim=Sim.LOCKED)),
        ("+CME ERROR: 100", ModemState()),
        ("+CEREG: 2,1", ModemState(lte=1)),
        ('+CEREG: 2,5,"1A2B","01A2B3C4",7', ModemState(lte=5)),
        ('+CEREG: 5,"1A2B","01A2B3C4",7', ModemState(lte=5)),
        ("+CEREG: 2", ModemState(lte=2)),
        ("+CREG: 1,1A2B,00C4", ModemState(circuit=1)),
        ("+CREG: 0,3", ModemState(circuit=3)),
        ('+COPS: 0,0,"Telekom.de",7', ModemState(operator="Telekom.de", technology="4G")),
        ('+COPS: 1,0,"o2 - de",2', ModemState(operator="o2 - de", technology="3G")),
        ("+COPS: 0", ModemState()),
        ('+COPS: 0,0,"x",77', ModemState(operator="x")),
        ("+CSQ: 31,99", ModemState(rssi_dbm=-51)),
        ("+CSQ: 0,0", ModemState(rssi_dbm=-113)),
        ("+CSQ: 99,99", ModemState()),
        ("+CESQ: 99,99,255,255,20,80", ModemState(rsrq_db=-10.0, rsrp_dbm=-61)),
        ("+CESQ: 99,99,255,255,1,0", ModemState(rsrq_db=-19.5, rsrp_dbm=-141)),
        ("+CESQ: 23,0,255,255,255,255", ModemState()),
        ("+CESQ: 99", ModemState()),
        ("+CSQ:", ModemState()),
        ("RING", ModemState()),
        ("+CREG: x", ModemState()),
        ("OK", ModemState()),
    ],
)
def test_a_line_says_what_it_says(line: str, state: ModemState) -> None:
    assert state_after(line) == state


def test_unknown_replaces_what_was_known() -> None:
    assert state_after("+CSQ: 20,99", "+CSQ: 99,99") == ModemState()
    assert state_after('+COPS: 0,0,"x",7', "+COPS: 0") == ModemState()


@pytest.mark.parametrize(
    ("lte", "circuit", "registration"),
    [
        (None, None, Registration.UNKNOWN),
        (1, 0, Registration.HOME),
        (0, 1, Registration.HOME),
        (2, 5, Registration.ROAMING),
        (3, 2, Registration.DENIED),
        (2, 3, Registration.SEARCHING),
        (None, 2, Registration.SEARCHING),
        (8, None, Registration.NONE),
        (99, None, Registration.UNKNOWN),
    ],
)
def test_either_network_will_do(lte: int | None, circuit: int | None, registration: Registration) -> None:
    state = ModemState(lte=lte, circuit=circuit)
    assert state.registration is registration
    assert state.roaming is (registration is Registration.ROAMING)


@pytest.mark.parametrize(
    ("state", "weak"),
    [
        (ModemState(), False),
        (ModemState(rsrp_dbm=-118), True),
        (ModemState(rsrp_dbm=-117, rssi_dbm=-113), False),
        (ModemState(rssi_dbm=-109), True),
        (ModemState(rssi_dbm=-107), False),
    ],
)
def test_a_signal_that_is_about_to_be_lost_is_weak(state: ModemState, weak: bool) -> None:
    assert state.weak is weak


def test_it_is_said_in_a_few_words() -> None:
    state = ModemState(Sim.READY, 5, 0, "Orange F", "4G", -71, -120, -12.5)
    assert str(state) == "roaming Orange F 4G -120dBm weak"
    assert str(replace(state, rsrp_dbm=None)) == "roaming Orange F 4G -71dBm"
    assert str(ModemState(sim=Sim.ABSENT, lte=0)) == "SIM absent no service"
    assert str(ModemState()) == "unknown"


NAMES = st.sampled_from(["CPIN", "CREG", "CEREG", "COPS", "CSQ", "CESQ", "CME ERROR", "X"])


@given(st.text(max_size=60) | st.builds("+{}: {}".format, NAMES, st.text('0123456789,"AF -', max_size=40)))
def test_whatever_a_line_says_nothing_raises(line: str) -> None:
    state = updated(ModemState(), line)
    assert str(state)
    assert isinstance(state.weak, bool)
