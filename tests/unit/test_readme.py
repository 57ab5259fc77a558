# SPDX-License-Identifier: Apache-2.0
"""The documents tell the truth about configuration, log events, commands and the wire format."""

from __future__ import annotations

import ast
import random
import re
import shutil
import subprocess
import sys
import tomllib
from functools import cache
from importlib.metadata import requires
from typing import TYPE_CHECKING

import msgspec
import pytest

from agent import cli
from agent.batch import batch_pb2, columns
from agent.batch.codec import decode_batch
from agent.batch.frame import decompress
from agent.collect.conditions.binding import Directory, bind
from agent.collect.conditions.parser import parse_condition
from agent.collect.config_check import violations
from agent.config import Config, demo_car_dbc, inspect_config, load_config, sections
from agent.decode.loading import load_databases
from agent.sources.interfaces import InterfaceState
from agent.system.log import ABOUT
from agent.uplink import profiles
from agent.uplink.properties import cloud_event
from tests import reference
from tests.support.documents import (
    BENCH,
    CODE,
    COLLECT,
    ENDPOINTS,
    OPERATION,
    README,
    REFERENCE,
    ROOT,
    WIRE,
    example,
    examples,
    rows,
)
from tests.support.samples import CATALOG, MS, START, batch, catalog, modes, steer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.samples import Frame


def test_every_key_stands_there_as_the_code_has_it() -> None:
    document = REFERENCE.read_text()
    assert reference.written(document) == document, "python -m tests.reference writes it anew"


def test_a_key_that_a_docstring_does_not_tell_of_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sections.LogConfig, "__doc__", "``[log]``: what the agent says.\n\n    level   how much\n")
    with pytest.raises(ValueError, match="LogConfig's docstring and keys differ: \\['format'\\]"):
        reference.reference()


def test_the_reference_has_every_section() -> None:
    names = {field.encode_name for field in msgspec.structs.fields(Config)} - {"file"}
    assert {
        re.sub(r"\W", "", reference.meanings(section)[0].split(":")[0]) for section in reference.sections()
    } == names


def test_the_smallest_file_is_a_configuration(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_text(example(README))
    config, problems = inspect_config(file)
    assert config is not None
    assert not problems


def test_the_rules_fit_the_demos_car_and_so_do_the_conditions(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_text(example(README) + "\n".join(examples(COLLECT)))
    config, problems = inspect_config(file)
    assert config is not None
    assert not problems
    assert config.collect
    assert config.triggers
    assert config.integrity
    directory = Directory(load_databases([(config.buses[0].name, demo_car_dbc())]).messages)
    assert not list(violations(config, directory))
    for text in ("mean(SPEED over 5s) > 3", "count(BODY_LIGHTS over 10s) > 2 and changed(GEAR_ENGAGED)"):
        bind(parse_condition(text), directory)


def test_each_endpoints_smallest_section_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    smallest, endpoints = example(README), [block for block in examples(ENDPOINTS) if "profile = " in block]
    for block in endpoints:
        file = tmp_path / "agent.toml"
        file.write_text(smallest.partition("[mqtt]")[0] + block)
        config = load_config(file)
        assert not list(profiles.violations(config))
    named = {re.search('profile = "(.*)"', block)[1] for block in endpoints}  # type: ignore[index]
    assert named == set(profiles.PROFILES) - {"generic"}


def test_what_a_cloud_event_costs_is_said() -> None:
    assert cloud_event("batch", "demo-0001", "normal-3f2a9c01/4711").size_bytes == 140


def test_the_satellite_receiver_is_a_bus(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_text(example(README) + example(REFERENCE, 'interface = "gnss"'))
    config, problems = inspect_config(file)
    assert config is not None
    assert not problems
    assert config.buses[1].interface == "gnss"


def test_modem_and_data_plan_are_a_configuration(tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_text(example(README) + example(ENDPOINTS, "[modem]") + example(ENDPOINTS, "[data_plan]"))
    config, problems = inspect_config(file)
    assert not problems
    assert config is not None
    assert config.modem is not None
    assert config.data_plan is not None


@cache
def logged_events() -> tuple[tuple[str, str], ...]:
    """Event and level of each warning and error in the code; a name made at run time as a regular expression."""
    texts = [path.read_text() for path in sorted((ROOT / "agent").rglob("*.py"))]
    logging = (text for text in texts if re.search(r"log\.(warning|error|exception|critical)", text))
    return tuple(event for text in logging for event in events_of(ast.parse(text)))


def events_of(tree: ast.Module) -> Iterator[tuple[str, str]]:
    return ((pattern(call.args[0]), level) for call, level in warnings_of(tree))


def warnings_of(tree: ast.Module) -> Iterator[tuple[ast.Call, str]]:
    levels = {
        target.id: "|".join(sorted({part.attr for part in ast.walk(node.value) if isinstance(part, ast.Attribute)}))
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and "log.warning" in ast.unparse(node.value)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        name = ast.unparse(call.func)
        level = levels.get(name) or name.removeprefix("log.")
        if level in ("warning", "error", "exception", "critical") or name in levels:
            yield call, level


def pattern(argument: ast.expr) -> str:
    if isinstance(argument, ast.JoinedStr):
        parts = [str(part.value) if isinstance(part, ast.Constant) else ".+" for part in argument.values]
        return "".join(parts)
    assert isinstance(argument, ast.Constant)
    return str(argument.value)


def test_every_warning_and_error_has_a_meaning_and_a_next_move() -> None:
    told = rows(OPERATION, "| event |")
    expected = {event for event, _ in logged_events() if ".+" not in event}
    expected |= {f"bus_{state.removeprefix('bus_')}" for state in InterfaceState if state is not InterfaceState.UP}
    expected |= {"library_logged", "lines_dropped", "repeats_left_out"}
    assert set(told) == expected
    assert all(len(cells) == 3 and all(cells) for cells in told.values())


def test_every_level_is_the_one_that_is_logged() -> None:
    told = rows(OPERATION, "| event |")
    for event, level in logged_events():
        for name, cells in told.items():
            if re.fullmatch(event, name):
                assert set(re.findall("error|warning", level)) <= set(cells[0].split(", ")), name


def test_every_warning_and_error_calls_the_same_by_the_same_name() -> None:
    """As OPERATION.md says: what it is about, why, what to do. The others are the event's figures; new ones go here."""
    told = re.search(r"What a line is about stands in (.*?), why", OPERATION.read_text(), re.DOTALL)
    assert told is not None
    assert re.findall(r"`(\w+)`", told[1]) == list(ABOUT)
    for event, fields in logged_fields():
        assert fields <= {*ABOUT, "reason", "hint"} | FIGURES, event
        assert fields & {"reason", "hint"}, f"{event}: neither why nor what to do"


FIGURES = {
    *("before", "broker", "certificate", "channel", "interface", "place", "sim"),
    *(
        "batches",
        "commands",
        "copies",
        "failures",
        "files",
        "frames",
        "frames_before",
        "frames_total",
        "late_s",
        "line",
        "lost",
    ),
    *(
        "after_s",
        "next_try_s",
        "entries",
        "offset",
        "records",
        "recovered",
        "refused",
        "seconds",
        "segment_bytes",
        "size_bytes",
    ),
    *("first", "last", "last_sequence", "sequence", "torn"),
}


def logged_fields() -> Iterator[tuple[str, set[str]]]:
    """Event and fields of each warning and error in the code."""
    for path in sorted((ROOT / "agent").rglob("*.py")):
        tree = ast.parse(path.read_text())
        for call, _ in warnings_of(tree):
            given = {each.arg for each in call.keywords if each.arg is not None}
            spread = (ast.unparse(each.value) for each in call.keywords if each.arg is None)
            yield pattern(call.args[0]), given.union(*(keys_of(tree, name) for name in spread))


def keys_of(tree: ast.Module, name: str) -> set[str]:
    """The keys of the dict of this name, as far as the file has them in so many words."""
    keys = set()
    for node in (node for node in ast.walk(tree) if isinstance(node, ast.Assign)):
        for target in node.targets:
            if ast.unparse(target) == name and isinstance(node.value, ast.Dict):
                keys |= {ast.literal_eval(key) for key in node.value.keys if key is not None}
            elif isinstance(target, ast.Subscript) and ast.unparse(target.value) == name:
                keys.add(ast.literal_eval(target.slice))
    return keys


def test_every_command_is_in_the_table() -> None:
    told = rows(BENCH, "| command | does |")
    assert [name.split()[1] for name in told] == list(cli.COMMANDS)


def test_every_package_that_is_asked_for_is_told_of() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [
        package for name, extra in project["optional-dependencies"].items() if name != "test" for package in extra
    ]
    wanted = {re.split(r"[<>=[]", package)[0] for package in (*project["dependencies"], *extras)}
    libraries = CODE.read_text().partition("Which package does what: ")[2].partition("\n\n")[0]
    told = set(re.findall(r"\*\*([a-z-]+)\*\*", libraries))
    assert told == wanted | {"paho-mqtt"}  # which comes with aiomqtt


def test_every_room_is_on_the_map() -> None:
    drawn = CODE.read_text().partition("\n    agent/\n")[2].partition("\n    dbc/")[0]
    rooms = {f"{path.name}/" for path in (ROOT / "agent").iterdir() if (path / "__init__.py").exists()}
    files = {path.name for path in (ROOT / "agent").glob("[!_]*.py")}
    assert set(re.findall(r"^ {6}(\w+/)|(\w+\.py)", drawn, re.MULTILINE)) == {(room, "") for room in rooms} | {
        ("", file) for file in files
    }


def test_the_reader_reads_what_the_decoder_reads(tmp_path: Path) -> None:
    content = batch(0, drive(), keep_unknown=True)
    assert kinds(content) == set(columns.Kind)
    path, catalog_path = tmp_path / "batch", tmp_path / "catalog"
    path.write_bytes(content)
    catalog_path.write_bytes(catalog())
    (tmp_path / "read_batch.py").write_text(example(WIRE, language="python"))
    shutil.copy(ROOT / "agent/batch/batch_pb2.py", tmp_path)
    command = [sys.executable, str(tmp_path / "read_batch.py"), str(path), str(catalog_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == list(expected_lines(content))


def kinds(content: bytes) -> set[columns.Kind]:
    message = batch_pb2.Batch.FromString(decompress(content, 1 << 20))
    return {columns.Kind(kind & 15) for kind in message.column_kind}


def drive() -> list[Frame]:
    """Frames whose columns are of all kinds, of a multiplexed message and an unknown one as well."""
    dice = random.Random(1)
    frames, torque = [], 100
    for row in range(600):
        torque += dice.choice((-1, 0, 1))
        now = START + row * 10 * MS + dice.randrange(3) * MS
        frames.append(steer(now, row * row % 20_000, torque=torque, state=row in (200, 450)))
        frames.append(modes(now + MS, 1 + row % 2, dice.randbytes(4)))
        noise = dice.randrange(1, 255)
        alike, opposed = noise + dice.randrange(2), 255 - noise
        frames.append((now + 2 * MS, 0, 0x7FF, bytes((row % 256, 7, noise, alike, opposed))))
    return frames


def expected_lines(content: bytes) -> Iterator[str]:
    for group in decode_batch(content, CATALOG).groups:
        for signal, column in group.columns.items():
            name = f"byte{signal}"
            if group.message >= 0:
                message = CATALOG.messages[group.message]
                name = f"{message.name}.{message.signals[signal].name}"
            for row, raw in zip(group.rows(signal), column, strict=True):
                yield f"{group.time_ns[row] / 1e9} {group.can_id:x} {name} {raw}"


def test_udp_multicast_comes_with_the_extra_that_is_named() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert "python-can[multicast]" in extras["demo"]
    assert any(re.match("msgpack.*multicast", each) for each in requires("python-can") or ())
