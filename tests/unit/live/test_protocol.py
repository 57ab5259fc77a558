# SPDX-License-Identifier: Apache-2.0
"""Lines of the socket: what goes out comes in again, and what is wrong is refused in words."""

from __future__ import annotations

import json

import pytest

from agent.config import CollectConfig, TriggerConfig
from agent.live.protocol import (
    LINE_BYTES_MAX,
    VERSION,
    Answer,
    BusDefinition,
    Definitions,
    Frames,
    ProtocolError,
    Request,
    decode_answer,
    decode_request,
    encode,
)
from agent.pipeline.traffic import LastFrame
from agent.units import Duration
from tests.support.snapshots import snapshot

RULES = (CollectConfig(every=Duration.parse("10s"), signal=("A", "B*")), CollectConfig(deadband=0.5, on_change=True))
DEFINITIONS = Definitions(
    vehicle="car-1",
    buses=(BusDefinition(name="can0", interface="socketcan", channel="can0", dbc=("a.dbc",), keep_unknown=False),),
    catalog="AAEC",
    collect=RULES,
    triggers=(TriggerConfig(name="hard", when="A > 1", after=Duration.parse("1m")),),
)
ROWS = (LastFrame(bus=1, can_id=0x9_8FEF100, message=-1, frames=1 << 40, time_ns=1 << 60, payload="00ff"),)


@pytest.mark.parametrize(
    "answer",
    [
        Answer(version=VERSION, snapshot=snapshot(late={"uplink": 1.5})),
        Answer(version=VERSION, definitions=DEFINITIONS),
        Answer(version=VERSION, frames=Frames(time_ns=5, rows=ROWS, skipped=3)),
    ],
)
def test_what_goes_out_comes_in_again(answer: Answer) -> None:
    line = encode(answer)
    assert line.count(b"\n") == 1
    assert decode_answer(line) == answer


def test_the_catalog_travels_as_text() -> None:
    assert DEFINITIONS.catalog_bytes == b"\0\1\2"


def test_durations_travel_as_the_configuration_writes_them() -> None:
    written = json.loads(encode(Answer(version=VERSION, definitions=DEFINITIONS)))["definitions"]
    assert [rule["every"] for rule in written["collect"]] == ["10s", None]
    assert written["triggers"][0]["after"] == "1m"


def test_a_question_fits_its_line() -> None:
    question = Request(version=VERSION, ask="frames", every_ms=250)
    line = encode(question)
    assert len(line) < LINE_BYTES_MAX
    assert decode_request(line) == question


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"", "not a line"),
        (b"GET / HTTP/1.1", "not a line"),
        (b'{"ask": "status"}', "not a line"),
        (b'{"version": 1, "ask": "status"}', "version 1 is not known here; accepted: 2"),
        (b'{"version": 2, "ask": "secrets"}', '"secrets" cannot be asked; accepted: status, definitions, frames'),
        (b'{"version": 2, "ask": "frames", "every_ms": 1}', "every_ms 1; accepted: 0, or 50 to 60000"),
        (b"\xff\xfe", "not a line"),
    ],
)
def test_a_bad_question_is_refused_in_words(line: bytes, reason: str) -> None:
    with pytest.raises(ProtocolError, match=f"(?s).*{reason}"):
        decode_request(line)


def test_a_refusal_and_another_version_are_told() -> None:
    with pytest.raises(ProtocolError, match="the agent refuses: no"):
        decode_answer(encode(Answer(version=VERSION, error="no")))
    with pytest.raises(ProtocolError, match="speaks version 7"):
        decode_answer(encode(Answer(version=7)))


def test_a_key_of_a_later_agent_is_no_harm() -> None:
    line = encode(Answer(version=VERSION, snapshot=snapshot())).replace(b'"version":2', b'"version":2,"news":[1]')
    assert decode_answer(line).snapshot == snapshot()
