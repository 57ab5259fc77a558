# SPDX-License-Identifier: Apache-2.0
"""Whatever database cantools loads is defined as cantools has it."""

from __future__ import annotations

import tempfile
from pathlib import Path

import cantools
import pytest
from cantools.database.can.formats.dbc import load_string
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from agent.decode.loading import load_databases
from agent.decode.report import Severity
from agent.model import EXTENDED
from tests.property.databases import Database, databases, frames
from tests.support.cantools_view import as_cantools_says, as_defined


def written(text: str, suffix: str = ".dbc") -> Path:
    with tempfile.NamedTemporaryFile("w", suffix=suffix, delete=False, encoding="utf-8") as file:
        file.write(text)
    return Path(file.name)


@given(databases())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_definitions_say_what_cantools_has_loaded(database: Database) -> None:
    path = written(database.text)
    try:
        loaded = load_databases([("can0", path)])
    finally:
        path.unlink()
    assert loaded.problems == ()
    by_id = {message.can_id: message for message in loaded.messages}
    expected = load_string(database.text, strict=True).messages
    assert len(expected) == len(by_id)
    for message in expected:
        definition = by_id[message.frame_id | (EXTENDED if message.is_extended_frame else 0)]
        assert (definition.name, definition.length) == (message.name, message.length)
        assert [as_defined(signal) for signal in definition.signals] == [
            as_cantools_says(signal) for signal in message.signals
        ]


@pytest.mark.parametrize("kind", ["kcd", "sym"])
@given(database=databases(messages_max=1))  # in a SYM file the signals of all messages share their names
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
def test_definitions_of_other_kinds_say_what_cantools_has_loaded(kind: str, database: Database) -> None:
    """The file is what cantools makes of the database; what it makes of this file is what the definitions say."""
    original = cantools.database.load_string(database.text, "dbc")
    assert isinstance(original, cantools.database.Database)
    nested = any(signal.mark.startswith("m") and signal.ranges for m in database.messages for signal in m.signals)
    if nested and kind == "sym":
        reject()  # cantools does not write those
    text = original.as_kcd_string() if kind == "kcd" else original.as_sym_string()
    path = written(text, f".{kind}")
    try:
        loaded = load_databases([("can0", path)])
    finally:
        path.unlink()
    assert not any(problem.severity is Severity.SKIPPED for problem in loaded.problems)
    by_id = {message.can_id: message for message in loaded.messages}
    expected = cantools.database.load_string(text, kind, strict=False)
    assert isinstance(expected, cantools.database.Database)
    assert len(expected.messages) == len(by_id)
    for message in expected.messages:
        definition = by_id[message.frame_id | (EXTENDED if message.is_extended_frame else 0)]
        assert (definition.name, definition.length) == (message.name, message.length)
        ours = sorted(map(repr, map(as_defined, definition.signals)))
        assert ours == sorted(map(repr, map(as_cantools_says, message.signals)))


@given(databases().flatmap(lambda database: st.tuples(st.just(database), frames(database))))
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_generated_frames_are_of_generated_messages(drawn: tuple[Database, list[tuple[int, bytes]]]) -> None:
    database, received = drawn
    lengths = {message.can_id: message.length for message in database.messages}
    assert received
    assert all(len(payload) == lengths[can_id] for can_id, payload in received)


@given(st.text(alphabet='BO_SG 10:|@+-(),[]"mM;VAL\n', max_size=200))
@settings(max_examples=50, deadline=None)
def test_no_text_breaks_the_loading(text: str) -> None:
    path = written(f'BO_ 1 Sound: 8 X\n SG_ a : 0|8@1+ (1,0) [0|0] "" X\n\nBS_:\n{text}\n')
    try:
        loaded = load_databases([("can0", path)])
    finally:
        path.unlink()
    assert any(message.name == "Sound" for message in loaded.messages)
