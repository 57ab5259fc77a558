# SPDX-License-Identifier: Apache-2.0
"""Why a frame is or is not decoded, kept, sent; what comes near; and how that is told."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec
import pytest

from agent.batch.catalog import Catalog, encode_catalog
from agent.config import CollectConfig, TriggerConfig
from agent.config.priorities import Priority
from agent.errors import DatabaseError
from agent.live import explain_text
from agent.live.client import NoAgentError
from agent.live.explain import ITEMS_MAX, Explanation, explain
from agent.live.explain_input import ExplainInput, gather
from agent.live.protocol import BusDefinition, Definitions, ProtectionDefinition
from agent.live.snapshot import IntegrityStatus, PriorityStatus
from agent.model import EXTENDED, MessageDefinition, SignalDefinition
from agent.units import Duration

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from agent.live.protocol import Row

S = 10**9
NOW_NS = 1_700_000_000 * S
GEAR = SignalDefinition("GEAR", 0, 8, choices=((4, "Fourth"),), multiplexor=True)
SPEED = SignalDefinition("SPEED", 8, 16, scale=0.5, unit="km/h")
PARK = SignalDefinition("PARK", 24, 8, selected_by="GEAR", selected_when=((0, 0), (7, 9)))
MESSAGES = (
    MessageDefinition("car", 0x100, "DRIVE", 4, (GEAR, SPEED, PARK), cycle_ms=10),
    MessageDefinition("car", 0x18FEF100 | EXTENDED, "CCVS", 1, (SignalDefinition("MODE", 0, 8),), j1939=True),
    MessageDefinition("body", 0x200, "DOORS", 1, (SignalDefinition("OPEN", 0, 8), SignalDefinition("SPEED", 0, 8))),
    MessageDefinition("body", 0x18FEF200 | EXTENDED, "LFE", 1, (SignalDefinition("RATE", 0, 8),)),
)
DRIVE: Row = (0, 0x100, 0, 4711, NOW_NS - 2 * S, "040a0009")
CCVS: Row = (0, 0x0CFEF1AA | EXTENDED, 1, 3, NOW_NS, "2a")
STRANGE: Row = (1, 0x7E0, -1, 9, NOW_NS, "0102")


def definitions(
    *,
    collect: Sequence[CollectConfig] = (),
    triggers: Sequence[TriggerConfig] = (),
    dbc: tuple[str, ...] = (),
    keep_unknown: bool = False,
    messages: tuple[MessageDefinition, ...] = MESSAGES,
) -> Definitions:
    buses = tuple(
        BusDefinition(name=name, interface="socketcan", channel=name, dbc=dbc, keep_unknown=keep_unknown)
        for name in ("car", "body")
    )
    catalog = base64.b64encode(encode_catalog(Catalog(("car", "body"), messages))).decode()
    return Definitions(vehicle="car-1", buses=buses, catalog=catalog, collect=tuple(collect), triggers=tuple(triggers))


def of(question: str, known: Definitions | None = None, rows: Sequence[Row] = (DRIVE, CCVS, STRANGE)) -> Explanation:
    return explain(ExplainInput(known or definitions(), tuple(rows)), question)


@pytest.mark.parametrize("question", ["0x100", "256", "100h", "DRIVE", "drive", "car.DRIVE", "GEAR", "car.DRIVE.GEAR"])
def test_an_id_and_its_names_mean_the_same(question: str) -> None:
    (item,) = of(question).items
    assert (item.bus, item.can_id, item.message, item.row) == ("car", 0x100, MESSAGES[0], DRIVE)


def test_a_frame_is_told_with_the_values_of_what_it_carries() -> None:
    (item,) = of("DRIVE").items
    gear, speed, park = item.signals
    assert (gear.raw, gear.value, gear.name) == (4, 4, "Fourth")
    assert (speed.raw, speed.value) == (10, 5.0)
    assert (park.raw, park.value) == (None, None)


def test_a_name_on_two_buses_is_told_of_both() -> None:
    assert [(item.bus, item.message and item.message.name) for item in of("SPEED").items] == [
        ("car", "DRIVE"),
        ("body", "DOORS"),
    ]
    assert [item.bus for item in of("DOORS.SPEED").items] == ["body"]


def test_a_parameter_group_is_told_by_the_ids_that_were_heard() -> None:
    (item,) = of("CCVS").items
    assert (item.can_id, item.signals[0].value) == (CCVS[1], 42)
    (item,) = of("18FEF1FEx").items
    assert (item.message, item.row) == (MESSAGES[1], None)


def test_digits_are_decimal_unless_only_their_hexadecimal_reading_is_known() -> None:
    assert [item.can_id for item in of("512").items] == [0x200]
    assert [item.can_id for item in of("200").items] == [0x200]


@pytest.mark.parametrize(
    ("question", "bus", "near"),
    [
        ("0x200", "car", "the DBC files of bus body describe it, as DOORS"),
        ("100x", "car", "0x100, the same number with 11 bits, is DRIVE"),
        ("0x00000200x", "body", "0x200, the same number with 11 bits, is DOORS"),
        ("18FEF2AAx", "body", "PGN 65266 (0xFEF2) is that of LFE (0x18FEF200x) on bus body: j1939 = true"),
        ("18FEF2AAx", "car", "PGN 65266 (0xFEF2) is that of LFE (0x18FEF200x) on bus body: j1939 = true"),
        ("18FEF1AAx", "body", "PGN 65265 (0xFEF1) is that of CCVS on bus car"),
        ("0x7E0", "body", ""),
    ],
)
def test_what_nobody_describes_has_near_misses(question: str, bus: str, near: str) -> None:
    can_id = of(question).items[0].can_id
    rows = [(number, can_id, -1, 5, NOW_NS, "00") for number in range(2)]
    (item,) = (item for item in of(question, rows=rows).items if item.bus == bus)
    assert item.message is None
    assert any(told.startswith(near) for told in item.near)


def test_a_frame_on_the_wrong_bus_is_told() -> None:
    (item,) = of("0x200", rows=[(0, 0x200, -1, 1234, NOW_NS, "00")]).items[:1]
    assert item.bus == "car"
    assert not any("received" in near for near in item.near)
    car, body = of("0x7E1", rows=[(1, 0x7E1 | EXTENDED, -1, 1234, NOW_NS, "00")]).items
    assert car.near == ("it is received on bus body as 0x000007E1x, 1,234 times",)
    assert body.near == car.near


def test_without_rules_everything_is_kept() -> None:
    (item,) = of("DRIVE").items
    assert [(kept.priority, kept.signals, kept.how, kept.rules) for kept in item.kept] == [
        (Priority.NORMAL, 3, "all", ())
    ]
    assert "no [[collect]]: everything is kept" in "\n".join(explain_text.text_lines(of("DRIVE"), NOW_NS))


def test_rules_are_told_by_class_and_number_as_check_plans_them() -> None:
    rules = [
        CollectConfig(every=Duration.parse("10s"), priority=Priority.BULK),
        CollectConfig(signal="SPEED", on_change=True),
        CollectConfig(signal="PARK", keep=False),
    ]
    (item,) = of("DRIVE", definitions(collect=rules)).items
    assert [(kept.priority, kept.signals, kept.how, kept.rules) for kept in item.kept] == [
        (Priority.NORMAL, 1, "on change", (2,)),
        (Priority.BULK, 2, "last of each 10s", (1,)),
    ]


def test_what_no_rule_keeps_says_so_and_which_trigger_records_it() -> None:
    rules = [CollectConfig(message="DOORS")]
    triggers = [
        TriggerConfig(name="fast", when="SPEED > 1", record="DRIVE.*"),
        TriggerConfig(name="door", when="OPEN > 0", record=("OPEN",)),
    ]
    (item,) = of("DRIVE", definitions(collect=rules, triggers=triggers), rows=()).items
    assert (item.kept, item.triggers) == ((), ("fast",))
    text = "\n".join(explain_text.text_lines(Explanation("DRIVE", (item,)), NOW_NS))
    assert "no: no rule keeps any of its signals but triggers record" in text
    assert "the kernel lets no others through" in text


@pytest.mark.parametrize(
    ("collect", "keep_unknown", "kept"),
    [
        ((), False, False),
        ((), True, True),
        ((CollectConfig(message="0x7E*"),), True, True),
        ((CollectConfig(message="DRIVE"),), True, False),
    ],
)
def test_unknown_frames_are_kept_raw_where_asked_for(
    collect: tuple[CollectConfig, ...], keep_unknown: bool, kept: bool
) -> None:
    (item,) = of("0x7E0", definitions(collect=collect, keep_unknown=keep_unknown)).items
    assert item.raw_kept is kept


def test_the_line_that_describes_a_message_is_found(tmp_path: Path) -> None:
    first, second = tmp_path / "first.dbc", tmp_path / "second.dbc"
    first.write_text("BO_ 2560 NOT_IT: 8 ECU\n")
    second.write_text('VERSION ""\n\nBO_ 256 DRIVE: 4 ECU\n')
    files = (str(tmp_path / "unreadable.dbc"), str(first), str(second))
    (item,) = of("DRIVE", definitions(dbc=files)).items
    assert (item.file, item.line) == (str(second), 3)
    (item,) = of("DRIVE", definitions(dbc=("gone.dbc",))).items
    assert (item.file, item.line) == ("gone.dbc", 0)


def test_what_is_unknown_has_a_suggestion() -> None:
    explanation = of("DRIVEN")
    assert explanation.items == ()
    assert list(explain_text.text_lines(explanation, NOW_NS)) == [
        'no message, signal or id "DRIVEN" is known; did you mean "DRIVE"?'
    ]


def test_a_name_of_many_messages_is_bounded() -> None:
    many = tuple(replace(MESSAGES[0], can_id=number, name=f"M{number}") for number in range(ITEMS_MAX + 5))
    explanation = of("SPEED", definitions(messages=many), rows=())
    assert (len(explanation.items), explanation.left_out) == (ITEMS_MAX, 5)
    assert list(explain_text.text_lines(explanation, 0))[-1].startswith("\nand 5 more")


def test_the_text_draws_bits_and_values() -> None:
    text = list(explain_text.text_lines(of("DRIVE"), NOW_NS))
    assert text[0] == "0x100 (256, 11 bit) on car: DRIVE, 4 bytes, each 10 ms"
    assert text[1] == "  received   4,711 times, last 2 s ago: 04 0A 00 09"
    assert text[4] == "  signal aaaaaaaa bbbbbbbb bbbbbbbb ........"
    assert text[5:8] == [
        '  a  GEAR   0|8 Intel                        0x4  4 "Fourth"',
        "  b  SPEED  8|16 Intel                       0xA  5 km/h",
        "  c  PARK   24|8 Intel, when GEAR is 0, 7…9  -",
    ]
    coloured = "\n".join(explain_text.text_lines(of("DRIVE"), NOW_NS, coloured=True))
    assert "\x1b[36ma\x1b[0m" in coloured


def test_without_an_agent_nothing_is_said_of_what_was_heard() -> None:
    assert not any("received" in line for line in explain_text.text_lines(of("DRIVE", rows=()), 0))


def test_a_program_gets_plain_types() -> None:
    for question in ("DRIVE", "0x7E0", "18FEF2AAx", "nothing"):
        plain = explain_text.plain(of(question))
        assert json.loads(json.dumps(plain)) == plain
    (item,) = explain_text.plain(of("DRIVE"))["items"]
    assert item["received"] == {"count": 4711, "t": (NOW_NS - 2 * S) / 1e9, "payload": "040a0009"}
    assert item["signals"][1] | {"start": 8, "value": 5.0, "byte_order": "intel"} == item["signals"][1]


GUARD = ProtectionDefinition(message=0, counter="GEAR", counter_max=14, checksum="PARK", kind="crc8-h2f", drop=True)


def test_it_is_told_by_what_a_message_is_verified_and_what_came_of_it() -> None:
    known = msgspec.structs.replace(definitions(), protections=(GUARD,))
    counters = IntegrityStatus(subject="car.DRIVE", frames=4711, wrong=3, missing=2, repeated=1)
    explanation = explain(ExplainInput(known, (DRIVE,), integrity=(counters,)), "DRIVE")
    text = "\n".join(explain_text.text_lines(explanation, NOW_NS))
    assert "verified   GEAR counts 0…14, PARK is a checksum (crc8-h2f); wrong frames are dropped\n" in text
    assert "verified   4,711 frames, 3 wrong, 2 missing, 1 repeated since" in text
    (item,) = explain_text.plain(explanation)["items"]
    assert item["verified"] == {
        "counter": "GEAR",
        "counter_max": 14,
        "checksum": "PARK",
        "kind": "crc8-h2f",
        "drop": True,
        "frames": 4711,
        "wrong": 3,
        "missing": 2,
        "repeated": 1,
    }
    assert "verified   no frame yet" in "\n".join(explain_text.text_lines(of("DRIVE", known), NOW_NS))
    assert "no frame yet" not in "\n".join(explain_text.text_lines(of("DRIVE", known), 0))
    assert "verified" not in "\n".join(explain_text.text_lines(of("DOORS", known), NOW_NS))


def test_it_is_told_when_its_class_was_last_acknowledged_and_what_waits() -> None:
    known = definitions(
        collect=[CollectConfig(message="DRIVE", priority=Priority.BULK), CollectConfig(message="0x7E0")],
        triggers=[TriggerConfig(name="fast", when="SPEED > 1", record="DRIVE.*")],
        keep_unknown=True,
    )
    classes = [
        PriorityStatus(name="critical"),
        PriorityStatus(
            name="normal", acknowledged=3, acknowledged_ns=NOW_NS - 2 * S, acknowledged_end_ns=NOW_NS - 9 * S
        ),
        PriorityStatus(name="bulk", batches=1, oldest_ns=NOW_NS - 60 * S),
    ]

    def sent(question: str) -> list[str]:
        explanation = explain(ExplainInput(known, (DRIVE, STRANGE), priorities=tuple(classes)), question)
        lines = explain_text.text_lines(explanation, NOW_NS)
        return [line.removeprefix("  sent       ") for line in lines if line.startswith("  sent ")]

    assert sent("DRIVE") == [
        "critical: nothing acknowledged since the start",
        "bulk: nothing acknowledged since the start; 1 batch waits, the oldest begun 1 min 0 s ago",
    ]
    assert sent("0x7E0") == ["normal: last acknowledged 2 s ago, with what came until 9 s ago"]
    assert sent("DOORS") == []
    (item,) = explain_text.plain(explain(ExplainInput(known, (STRANGE,), priorities=tuple(classes)), "0x7E0"))["items"]
    until_s = NOW_NS / 1e9 - 9
    assert item["sent"] == [
        {"priority": "normal", "acknowledged": 3, "acknowledged_t": until_s + 7, "until_t": until_s, "waiting": 0}
    ]


def test_where_no_agent_answers_a_configuration_tells(tmp_path: Path) -> None:
    config, missing = tmp_path / "agent.toml", tmp_path / "missing.toml"
    socket = tmp_path / "agent.sock"
    config.write_text(
        '[vehicle]\nid = "c"\n[[bus]]\nname = "b"\ninterface = "simulator"\n[mqtt]\nbroker = "mqtt://h"\n'
        f'[agent]\nsocket = "{socket}"\n[[collect]]\nevery = "1s"\n'
        '[[integrity]]\nmessage = "ENGINE_SPEED"\ncounter = "COUNTER"\n'
    )
    for known in (gather(None, config, missing), gather(None, None, config)):
        assert (known.time_ns, known.rows) == (0, ())
        assert "no agent answers there" in known.silent
        assert known.silent.endswith(f"this is what {config} says")
        (item,) = explain(known, "ENGINE_SPEED").items
        assert (item.bus, item.kept[0].how) == ("b", "last of each 1s")
        assert item.verified is not None
        assert (item.verified.protection.counter, item.verified.protection.counter_max) == ("COUNTER", 15)
    with pytest.raises(NoAgentError):
        gather(socket, config, missing)
    with pytest.raises(NoAgentError):
        gather(None, None, missing)


def test_a_configuration_without_its_dbc_file_is_refused(tmp_path: Path) -> None:
    config = tmp_path / "agent.toml"
    config.write_text(
        '[vehicle]\nid = "c"\n[[bus]]\nname = "b"\ninterface = "socketcan"\nchannel = "can0"\ndbc = ["no.dbc"]\n'
        f'[mqtt]\nbroker = "mqtt://h"\n[agent]\nsocket = "{tmp_path}/agent.sock"\n'
    )
    with pytest.raises(DatabaseError, match=r"no\.dbc"):
        gather(None, config, tmp_path / "missing.toml")


def test_definitions_survive_the_wire() -> None:
    known = definitions(collect=[CollectConfig(every=Duration.parse("1s"))])
    assert (
        msgspec.convert(msgspec.to_builtins(known, enc_hook=str), Definitions, dec_hook=lambda k, v: k.parse(v))
        == known
    )
