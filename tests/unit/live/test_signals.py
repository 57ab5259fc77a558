# SPDX-License-Identifier: Apache-2.0
"""Last frames as signals: values, names, choices of what is wanted, and a condition; and how they are drawn."""

from __future__ import annotations

import base64
import json
import re
from typing import TYPE_CHECKING

import pytest

from agent.batch.catalog import Catalog, encode_catalog
from agent.errors import ConfigError
from agent.live import table
from agent.live.protocol import BusDefinition, Definitions
from agent.live.signals import LiveSignals, Sample, Selection
from agent.model import EXTENDED, MessageDefinition, SignalDefinition

if TYPE_CHECKING:
    from agent.live.protocol import Row

S = 10**9
GEAR = SignalDefinition("GEAR", 0, 8, choices=((4, "Fourth"),), multiplexor=True)
SPEED = SignalDefinition("SPEED", 8, 16, scale=0.5, offset=-10, unit="km/h", signed=True)
PRESSED = SignalDefinition("PRESSED", 24, 8, selected_by="GEAR", selected_when=((5, 5),))
MESSAGES = (
    MessageDefinition("car", 0x100, "DRIVE", 4, (GEAR, SPEED, PRESSED)),
    MessageDefinition("car", 0x18FEF100 | EXTENDED, "CCVS", 1, (SignalDefinition("MODE", 0, 8),), j1939=True),
)
BUSES = ("car", "body")
DEFINITIONS = Definitions(
    vehicle="car-1",
    buses=tuple(BusDefinition(name=n, interface="socketcan", channel=n, dbc=(), keep_unknown=False) for n in BUSES),
    catalog=base64.b64encode(encode_catalog(Catalog(BUSES, MESSAGES))).decode(),
)


def drive(gear: int, speed: int, pressed: int = 1, *, time_ns: int = S) -> Row:
    payload = bytes([gear]) + speed.to_bytes(2, "little", signed=True) + bytes([pressed])
    return 0, 0x100, 0, 7, time_ns, payload.hex()


MODE: Row = (0, 0x0CFEF1AA | EXTENDED, 1, 3, 2 * S, "2a")
STRANGE: Row = (1, 0x7E0, -1, 9, 3 * S, "0102ff")


def test_values_have_names_units_and_value_names() -> None:
    live, mode, strange = sorted(
        LiveSignals(DEFINITIONS).update([STRANGE, MODE, drive(4, -2)]), key=lambda m: m.time_ns
    )
    assert (live.bus, live.message, live.can_id, live.count, live.time_ns) == ("car", "DRIVE", 0x100, 7, S)
    assert live.samples == (Sample("GEAR", 4, name="Fourth"), Sample("SPEED", -11.0, "km/h"))
    assert (mode.message, mode.can_id, mode.samples) == ("CCVS", MODE[1], (Sample("MODE", 42),))
    assert (strange.bus, strange.message, strange.known) == ("body", "0x7E0", False)
    assert strange.samples == (Sample("data", "0102ff"),)


def test_a_multiplexed_signal_is_there_when_it_is_selected() -> None:
    (live,) = LiveSignals(DEFINITIONS).update([drive(5, 0, 9)])
    assert [(sample.signal, sample.value) for sample in live.samples] == [("GEAR", 5), ("SPEED", -10.0), ("PRESSED", 9)]


def test_what_has_changed_is_told() -> None:
    signals = LiveSignals(DEFINITIONS)
    assert not any(sample.changed for sample in signals.update([drive(4, 0)])[0].samples)
    assert [sample.changed for sample in signals.update([drive(4, 1)])[0].samples] == [False, True]
    assert not any(sample.changed for sample in signals.update([drive(4, 1)])[0].samples)


@pytest.mark.parametrize(
    ("selection", "found"),
    [
        (Selection(bus=("b*",)), ["0x7E0.data"]),
        (Selection(message=("DRIVE", "0x7E?")), ["DRIVE.GEAR", "DRIVE.SPEED", "0x7E0.data"]),
        (Selection(signal=("S*", "MODE")), ["DRIVE.SPEED", "CCVS.MODE"]),
        (Selection(bus=("car",), signal=("data",)), []),
        (Selection(signal=("DRIVE.S*", "body.0x7E0.data")), ["DRIVE.SPEED", "0x7E0.data"]),
        (Selection(signal=("car.*.MODE", "body.*.data")), ["CCVS.MODE", "0x7E0.data"]),
    ],
)
def test_only_what_is_wanted_comes(selection: Selection, found: list[str]) -> None:
    live = LiveSignals(DEFINITIONS, selection).update([drive(4, 0), MODE, STRANGE])
    names = [f"{message.message}.{sample.signal}" for message in live for sample in message.samples]
    assert sorted(names) == sorted(found)


@pytest.mark.parametrize(
    ("selection", "reason"),
    [
        (Selection(bus=("chassis",)), '--bus: the agent has no bus "chassis"; accepted: car, body'),
        (
            Selection(message=("DRIVE", "DRVE")),
            '--message: the DBC files have no message "DRVE"; did you mean "DRIVE"?',
        ),
        (Selection(message=("BRAKE_*",)), 'no message "BRAKE_*"'),
        (Selection(signal=("sped",)), 'the DBC files have no signal "sped"; did you mean "SPEED"?'),
        (Selection(signal=("DRIVE.MODE",)), 'no signal "DRIVE.MODE"; did you mean "DRIVE.GEAR"?'),
    ],
)
def test_a_name_that_nothing_bears_is_refused(selection: Selection, reason: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(reason)):
        LiveSignals(DEFINITIONS, selection)


@pytest.mark.parametrize("pattern", ["0x7F*", "*7F", "?x7F0"])
def test_an_id_that_nobody_describes_may_still_come(pattern: str) -> None:
    assert LiveSignals(DEFINITIONS, Selection(message=(pattern,))).update([drive(4, 0), STRANGE]) == []


def test_an_empty_update_is_none() -> None:
    assert LiveSignals(DEFINITIONS).update([]) == []


def test_a_condition_speaks_of_the_latest_values() -> None:
    signals = LiveSignals(DEFINITIONS, Selection(message=("CCVS",), when='SPEED > -10 and GEAR == "Fourth"'))
    assert signals.update([MODE]) == []  # nothing is known of either
    assert signals.update([drive(4, 0), MODE]) == []
    assert len(signals.update([drive(4, 1), MODE])) == 1
    assert len(signals.update([MODE])) == 1
    assert signals.update([drive(5, 1), MODE]) == []


def test_a_condition_may_speak_of_moments_and_sums() -> None:
    signals = LiveSignals(DEFINITIONS, Selection(when="changed(GEAR) or SPEED + MODE > 100"))
    assert [len(signals.update([drive(gear, 0)])) for gear in (4, 4, 5, 5)] == [0, 0, 1, 0]
    assert len(signals.update([drive(5, 200), MODE])) == 2


@pytest.mark.parametrize(
    ("condition", "reason"),
    [
        ("SPED > 1", 'no signal "SPED"; did you mean "SPEED"'),
        ("SPEED >", "--when: "),
        ("mean(SPEED over 5s) > 1", "looks back over a time"),
        ("count(DRIVE over 5s) > 1", "looks back over a time"),
    ],
)
def test_a_condition_that_cannot_be_used_is_refused(condition: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(reason)):
        LiveSignals(DEFINITIONS, Selection(when=condition))


def test_json_lines_are_those_of_the_export_and_more() -> None:
    live = LiveSignals(DEFINITIONS).update([drive(4, -2), STRANGE])
    drives, strange = (json.loads(table.json_line(message)) for message in sorted(live, key=lambda each: each.time_ns))
    assert drives == {
        "t": 1.0,
        "bus": "car",
        "id": 0x100,
        "extended": False,
        "message": "DRIVE",
        "count": 7,
        "signals": {"GEAR": 4, "SPEED": -11.0},
        "units": {"SPEED": "km/h"},
        "names": {"GEAR": "Fourth"},
    }
    assert (strange["message"], strange["signals"]) == (None, {"data": "0102ff"})


def test_lines_for_people_are_one_a_signal() -> None:
    assert list(table.lines(LiveSignals(DEFINITIONS).update([drive(4, -2)]))) == [
        '1.000000 car.DRIVE.GEAR 4 "Fourth"',
        "1.000000 car.DRIVE.SPEED -11 km/h",
    ]


def test_the_table_keeps_what_has_come_and_highlights_what_changes() -> None:
    signals, drawn = LiveSignals(DEFINITIONS), table.Table()
    first = drawn.draw(signals.update([drive(4, 0), MODE]), 2 * S, 0, 60, 24)
    assert first.startswith(table.HOME)
    assert first.endswith(table.CLEAR_REST)
    assert "\x1b[1;33m" not in first
    second = drawn.draw(signals.update([drive(4, 2, time_ns=2 * S)]), 2 * S, 0, 60, 24)
    assert re.search(r"car\.DRIVE\.SPEED +\x1b\[1;33m +-9 km/h\x1b\[0m", second)
    assert "car.CCVS.MODE" in second
    assert "3 signals of 2 messages" in second
    third = drawn.draw([], 100 * S, 0, 60, 24)
    assert "\x1b[1;33m" not in third
    assert "1 min 38 s ago" in third


def test_values_stand_beside_their_names_however_wide_the_terminal_is() -> None:
    text = table.Table().draw(LiveSignals(DEFINITIONS).update([drive(4, 0), MODE]), 2 * S, 0, 200, 24)
    lines = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", text).splitlines()
    assert lines[0] == 'car.DRIVE.GEAR       4 "Fourth"'
    assert lines[1] == "car.DRIVE.SPEED        -10 km/h"


def test_an_empty_table_says_why() -> None:
    assert "none of these has come yet" in table.Table().draw([], S, 0, 90, 24)


def test_the_table_fits_its_terminal_and_tells_what_it_leaves_out() -> None:
    signals, drawn = LiveSignals(DEFINITIONS), table.Table()
    text = drawn.draw(signals.update([drive(5, 0), MODE, STRANGE]), 4 * S, 7, 90, 4)
    lines = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", text).splitlines()
    assert len(lines) == 3
    assert all(len(line) <= 90 for line in lines)
    assert (
        "5 signals of 3 messages, 3 more: choose with --bus, --message, --signal, 7 updates skipped"[:90] == lines[-1]
    )
