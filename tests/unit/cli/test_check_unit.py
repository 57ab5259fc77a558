# SPDX-License-Identifier: Apache-2.0
"""`canferry check` on the unit: buses, modem, spool and disk."""

from __future__ import annotations

import importlib.util
import os
import socket
from types import SimpleNamespace

import pytest

from agent import cli
from tests.support.blf_files import blf, blf_object, can_object
from tests.support.checking import Checked, offline


@pytest.mark.parametrize(
    ("interface", "level", "expected"),
    [
        (
            '"slcann"\nchannel = "x"',
            "error",
            'bus[car].interface: "slcann" is not an interface that python-can knows (did you',
        ),
        ('"slcan"\nchannel = "/dev/ttyNOWHERE9"', "warning", "bus[car].channel: /dev/ttyNOWHERE9 is not there"),
        ('"gnss"\nchannel = "/dev/ttyNOWHERE9"', "warning", "bus[car].channel: /dev/ttyNOWHERE9 is not there"),
        (
            '"replay"\nchannel = "gone.log"',
            "error",
            "bus[car].channel: {folder}/gone.log: no such file; accepted: a recorded",
        ),
    ],
)
def test_a_bus_that_cannot_be_opened_is_named(checked: Checked, interface: str, level: str, expected: str) -> None:
    text = offline().replace('"simulator"', interface)
    assert checked.only(text, level, "--offline").startswith(expected.format(folder=checked.folder))


@pytest.mark.parametrize(
    ("log", "options", "level", "expected"),
    [
        ("(1.0) can0 123#11\n", "", "ok", "bytes, buses can0"),
        ("(1.0) car 123#11\n(1.0) can0 123#11\n", "", "ok", "bytes, buses car, can0"),
        (
            "(1.0) can0 123#11\n",
            'options = { channel = "can9" }\n',
            "error",
            "no frame is of can9; the log's buses: can0",
        ),
        ("(1.0) can0 1#11\n(1.0) can1 1#11\n", "", "error", "no frame is of car; the log's buses: can0, can1"),
        ("(1.0) can0 1#11\n(1.0) can1 1#11\n" * 10_000, "", "warning", "none of the first 20,000 frames is of car"),
        ("", "", "warning", "(no frame)"),
        ("rubbish\n", "", "error", "line 1: not a frame"),
    ],
)
def test_a_recorded_log_is_looked_into_for_its_buses(
    checked: Checked, log: str, options: str, level: str, expected: str
) -> None:
    (checked.folder / "drive.log").write_text(log)
    text = offline().replace('"simulator"', f'"replay"\nchannel = "drive.log"\n{options}')
    _, findings = checked.run(text, "--offline")
    (found,) = [finding for finding in findings if finding["subject"] == "bus[car].channel"]
    assert found["level"] == level
    assert expected in found["text"]


def test_a_recorded_log_that_is_damaged_in_its_beginning_is_a_warning(checked: Checked) -> None:
    frames = [can_object(1, 0x123, bytes(8)), blf_object(86, bytes(24), size=0)]
    (checked.folder / "drive.blf").write_bytes(blf(frames))
    text = offline().replace('"simulator"', '"replay"\nchannel = "drive.blf"')
    told = checked.only(text, "warning", "--offline")
    assert "drive.blf: object 2, in the container at byte 144: the file is damaged" in told
    assert told.endswith("what comes before it is replayed")


def test_a_modem_that_is_not_there_is_named(checked: Checked) -> None:
    text = offline() + '[modem]\nport = "/dev/ttyNOWHERE9"\n'
    assert checked.only(text, "warning", "--offline").startswith("modem.port: /dev/ttyNOWHERE9 is not there")


@pytest.mark.parametrize(
    ("old", "new", "level", "subject"),
    [
        ('"simulator"', '"gnss"\nchannel = "{hidden}"', "warning", "bus[car].channel"),
        ('"simulator"', '"slcan"\nchannel = "/dev/{name}"', "warning", "bus[car].channel"),
        ('"simulator"', '"replay"\nchannel = "{hidden}"', "error", "bus[car].channel"),
        ("[spool]", '[modem]\nport = "{hidden}"\n[spool]', "warning", "modem.port"),
        ('path = "spool"', 'path = "{hidden}"', "error", "spool.path"),
    ],
)
def test_where_it_may_not_even_look_is_a_finding_and_run_refuses_likewise(
    checked: Checked, capsys: pytest.CaptureFixture[str], old: str, new: str, level: str, subject: str
) -> None:
    name = "n" * 300  # no file system takes it; as root no permission is missing
    text = offline().replace(old, new.format(hidden=checked.folder / name, name=name))
    told = checked.only(text, level, "--offline")
    assert told.startswith(f"{subject}: /")
    assert "file name too long, for " in told
    if level == "error":
        assert cli.main(["run", "--config", str(checked.file)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "file name too long" in line


def test_modemmanager_without_its_library_is_refused_by_check_and_run(
    checked: Checked, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "jeepney" else SimpleNamespace())
    text = offline() + '[modem]\nsource = "modemmanager"\n'
    assert checked.only(text, "error", "--offline").startswith('modem.source: "modemmanager" needs the library jeepney')
    assert cli.main(["run", "--config", str(checked.file)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "modem.source" in line
    assert 'pip install "canferry[modemmanager]"' in line


def test_a_known_interface_and_a_present_log_are_sound(checked: Checked) -> None:
    (checked.folder / "drive.log").write_text("(0.0) can0 1#00\n")
    bus = '[[bus]]\nname = "b{n}"\ndbc = ["small.dbc"]\n'
    buses = bus.format(n=1) + 'interface = "virtual"\nchannel = "v"\n'
    buses += bus.format(n=2) + 'interface = "replay"\nchannel = "drive.log"\n'
    buses += '[[bus]]\nname = "b3"\ninterface = "gnss"\nchannel = "gpsd://localhost"\n'
    buses += '[[bus]]\nname = "b4"\ninterface = "gnss"\nchannel = "/dev/null"\n'
    status, findings = checked.run(offline() + buses + '[modem]\nport = "/dev/zero"\n', "--offline")
    assert status == 0
    assert {finding["level"] for finding in findings} == {"ok"}


def test_a_missing_network_interface_is_a_warning_where_the_kernel_knows_can(checked: Checked) -> None:
    text = offline().replace('"simulator"', '"socketcan"\nchannel = "can97"')
    try:
        socket.socket(socket.AF_CAN, socket.SOCK_RAW, socket.CAN_RAW).close()
    except OSError:
        assert checked.only(text, "error", "--offline").startswith("bus[car].interface: this kernel has no SocketCAN")
    else:
        assert "no network interface can97" in checked.only(text, "warning", "--offline")


def test_a_spool_that_is_no_directory_is_an_error(checked: Checked) -> None:
    (checked.folder / "spool").write_text("a file")
    assert checked.only(offline(), "error", "--offline") == (
        f"spool.path: {checked.folder / 'spool'} is not a directory"
    )


@pytest.mark.parametrize("path", ["/proc", "/proc/spool", "/proc/some/where"])
def test_a_spool_that_cannot_be_made_or_written_is_an_error_for_run_too(checked: Checked, path: str) -> None:
    text = offline().replace('path = "spool"', f'path = "{path}"')
    told = checked.only(text, "error", "--offline")
    assert told.startswith("spool.path: /proc may not be written to by ")
    assert cli.main(["run", "--config", str(checked.file)]) == 2
    assert told in checked.capsys.readouterr().err


def test_a_spool_that_another_users_agent_has_left_is_an_error(
    checked: Checked, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = checked.folder / "spool" / "normal"
    folder.mkdir(parents=True)
    (folder / "state").touch()
    monkeypatch.setattr(os, "access", lambda path, _: path != folder / "state")  # root may write anywhere
    told = checked.only(offline(), "error", "--offline")
    assert told.startswith(f"spool.path: {folder / 'state'} may not be written to by ")


def test_a_batch_that_no_file_of_the_spool_would_hold_is_refused_by_run_too(checked: Checked) -> None:
    text = offline().replace('"8MiB"', '"1MiB"').replace('segment = "1MiB"', 'segment = "256KiB"')
    assert checked.run(text, "--offline")[0] == 0
    told = checked.only(f'{text}[batch]\nmax_bytes = "120KiB"\n', "error", "--offline")
    assert told == (
        'batch.max_bytes: "120KiB" is more than one file of the spool holds beside spool.limit = "1MiB"; '
        'accepted: up to "72KiB", or a larger spool.limit'
    )
    assert cli.main(["run", "--config", str(checked.file)]) == 2
    assert told in checked.capsys.readouterr().err


@pytest.mark.parametrize("made", [False, True])
def test_nothing_is_left_of_the_try_to_write(checked: Checked, made: bool) -> None:
    if made:
        (checked.folder / "spool").mkdir()
    checked.run(offline(), "--offline")
    left = {path.name for path in checked.folder.rglob("*")}
    assert left == {"agent.toml", "small.dbc"} | ({"spool"} if made else set())


def disk_with(monkeypatch: pytest.MonkeyPatch, free_bytes: int) -> None:
    usage = SimpleNamespace(free=free_bytes)
    monkeypatch.setattr("agent.cli.preflight.unit.shutil", SimpleNamespace(disk_usage=lambda _: usage))


def test_a_disk_without_room_for_what_run_takes_at_once_is_an_error(
    checked: Checked, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk_with(monkeypatch, 2 << 20)
    assert checked.only(offline(), "error", "--offline") == (
        f"spool.path: {checked.folder} has 2048KiB free, and run takes 2112KiB at once for state and journal; "
        "accepted: a disk with room for them"
    )


def test_a_limit_beyond_the_disk_is_a_warning(checked: Checked) -> None:
    text = offline().replace('"8MiB"', '"1024GiB"').replace('"0B"', '"1024GiB"')
    assert checked.only(text, "warning", "--offline") == (
        "spool.limit: 1024GiB, and the disk has 0MiB for it beside spool.min_free: no batch can be stored until there "
        "is more"
    )


def test_a_limit_that_the_disk_has_only_part_of_is_a_warning(checked: Checked, monkeypatch: pytest.MonkeyPatch) -> None:
    disk_with(monkeypatch, 7 << 20)
    assert checked.only(offline(), "warning", "--offline") == (
        "spool.limit: 8MiB, and the disk has 7MiB for it beside spool.min_free: batches are evicted earlier"
    )
