# SPDX-License-Identifier: Apache-2.0
"""`canferry check`: an error is what `run` refuses, a warning what it lives with."""

from __future__ import annotations

import datetime as dt
import importlib.util
import json
import os
import queue
import secrets
import socket
import ssl
import subprocess
import sys
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal

import pytest

from agent import cli
from agent.cli.preflight import check_catalog, endpoint
from agent.config import BusConfig, Config, MqttConfig, VehicleConfig, demo_car_dbc
from agent.live.client import NoAgentError
from agent.model import MessageDefinition, SignalDefinition
from agent.uplink.certificate import expiry_s
from tests.support.blf_files import blf, blf_object, can_object

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CONFIG = """
[vehicle]
id = "demo-0001"
[[bus]]
name = "car"
interface = "simulator"
dbc = ["small.dbc"]
[spool]
path = "spool"
limit = "8MiB"
segment = "1MiB"
min_free = "0B"
[mqtt]
broker = "mqtt://127.0.0.1:{port}"
"""
SMALL_DBC = 'BU_: X\nBO_ 1 GOOD: 8 X\n SG_ A : 0|8@1+ (1,0) [0|0] "" X\n'


class Broker(threading.Thread):
    """Answers each CONNECT with one CONNACK; `heard` is what came on each connection."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.code = 0
        self.heard: queue.Queue[bytes] = queue.Queue()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]

    def run(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            with connection:
                came = connection.recv(4096)
                connection.sendall(bytes((0x20, 3, 0, self.code, 0)))
                said = connection.recv(4096)
                if said[:1] == b"\x34":  # PUBLISH with QoS 2
                    connection.sendall(b"\x50\x02" + _published(connection, said))
                    said = connection.recv(4096)
                self.heard.put(came + said)

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.join()


def _published(connection: socket.socket, packet: bytes) -> bytes:
    """Read the rest of a PUBLISH; its packet id."""
    length, shift, head = 0, 0, 1
    while True:
        length |= (packet[head] & 0x7F) << shift
        shift, head = shift + 7, head + 1
        if packet[head - 1] < 0x80:
            break
    while len(packet) < head + length:
        packet += connection.recv(1 << 16)
    topic = int.from_bytes(packet[head : head + 2], "big")
    return packet[head + 2 + topic :][:2]


@pytest.fixture
def broker() -> Iterator[Broker]:
    broker = Broker()
    broker.start()
    yield broker
    broker.close()


@pytest.fixture(scope="session")
def credentials(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with certificate and key `good.*` (years), `short.*` (a week) and the key `other.key`."""
    folder = tmp_path_factory.mktemp("credentials")
    for name, days in (("good", 1000), ("short", 7), ("other", 1000)):
        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        files = ["-keyout", str(folder / f"{name}.key"), "-out", str(folder / f"{name}.pem")]
        command = ["openssl", "req", "-x509", *curve, *files, "-days", str(days), "-subj", f"/CN={name}"]
        subprocess.run(command, check=True, capture_output=True)
        (folder / f"{name}.key").chmod(0o600)
    return folder


class Checked:
    """Runs the command on a configuration and keeps its findings."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self.capsys = folder, capsys
        self.file = folder / "agent.toml"
        (folder / "small.dbc").write_text(SMALL_DBC)

    def run(self, text: str, *options: str) -> tuple[int, list[dict[str, Any]]]:
        self.file.write_text(text)
        status = cli.main(["check", "--config", str(self.file), "--json", *options])
        document = json.loads(self.capsys.readouterr().out)
        assert document["errors"] == sum(finding["level"] == "error" for finding in document["findings"])
        return status, document["findings"]

    def only(self, text: str, level: str, *options: str) -> str:
        """The one finding of a level, as text."""
        _, findings = self.run(text, *options)
        (found,) = [finding for finding in findings if finding["level"] == level]
        return f"{found['subject']}: {found['text']}"


@pytest.fixture
def checked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Checked:
    return Checked(tmp_path, capsys)


def offline(text: str = CONFIG) -> str:
    return text.format(port=1883)


def test_a_sound_configuration_with_a_broker_has_no_findings(checked: Checked, broker: Broker) -> None:
    status, findings = checked.run(CONFIG.format(port=broker.port).replace('dbc = ["small.dbc"]', ""))
    assert status == 0
    assert {finding["level"] for finding in findings} == {"ok"}
    subjects = [finding["subject"] for finding in findings]
    expected = [
        str(checked.file),
        f"{demo_car_dbc()} on car",
        "bus[car].interface",
        "spool.path",
        "spool.limit",
        "mqtt.broker",
    ]
    assert subjects == expected
    assert not (checked.folder / "spool").exists()


def test_the_login_is_tried_by_a_name_beside_the_agents_own_and_leaves_nothing(
    checked: Checked, broker: Broker
) -> None:
    _, findings = checked.run(CONFIG.format(port=broker.port))
    assert (
        findings[-1]["text"]
        == f'127.0.0.1:{broker.port} answers, not encrypted; takes batches of 48KiB; logged in as "demo-0001-check"'
    )
    connect, _, disconnect = broker.heard.get(timeout=10).partition(b"\x00\x0fdemo-0001-check")
    assert connect[9] == 0b101110, "a clean session with a last will, retained, QoS 1"
    will, _, goodbye = disconnect.rpartition(b"\xe0")
    assert b"canferry/demo-0001/status-check" in will
    assert goodbye, "which withdraws it"


@pytest.mark.parametrize(
    ("code", "level", "told"),
    [
        (
            0x86,
            "error",
            "mqtt login: broker {address}: bad user name or password: check mqtt.username and mqtt.password",
        ),
        (
            0x87,
            "error",
            "mqtt login: broker {address}: not authorized: check this client's credentials and the broker's",
        ),
        (0x8A, "error", "mqtt login: broker {address}: this client is banned there (0x8A)"),
        (
            0x85,
            "warning",
            "mqtt.broker: broker {address}: it does not accept the client id: check mqtt.client_id (0x85)",
        ),
        (0x97, "warning", "mqtt.broker: broker {address}: quota exceeded (0x97)"),
    ],
)
def test_a_broker_that_refuses_the_login_is_an_error_where_waiting_does_not_help(
    checked: Checked, broker: Broker, code: int, level: str, told: str
) -> None:
    broker.code = code
    found = checked.only(CONFIG.format(port=broker.port), level)
    assert found.startswith(told.format(address=f"127.0.0.1:{broker.port}"))
    by_name = (
        'asked as "demo-0001-check", not to end the agent\'s own connection: a broker that lets in known client ids'
    )
    assert (by_name in found) is (code in (0x85, 0x87))


def test_a_refused_login_is_the_brokers_refusal_and_not_runs(checked: Checked, broker: Broker) -> None:
    broker.code = 0x86
    checked.file.write_text(CONFIG.format(port=broker.port))
    assert cli.main(["check", "--config", str(checked.file)]) == 2
    shown = checked.capsys.readouterr()
    assert shown.out.endswith("\n1 error, 0 warnings: canferry run would start, and the broker refuse it\n")
    assert shown.err.startswith(f"error    {checked.file}: mqtt login: ")


@pytest.mark.parametrize("elsewhere", [False, True])
def test_an_agent_that_is_connected_is_left_alone(
    checked: Checked, broker: Broker, monkeypatch: pytest.MonkeyPatch, elsewhere: bool
) -> None:
    link = SimpleNamespace(connected=True, broker="other:1" if elsewhere else f"127.0.0.1:{broker.port}")
    answer = SimpleNamespace(snapshot=SimpleNamespace(link=link))
    monkeypatch.setattr("agent.live.client.ask_once", lambda *_: answer)
    _, findings = checked.run(CONFIG.format(port=broker.port))
    assert ("login not tried: the agent that runs here is connected" in findings[-1]["text"]) is not elsewhere
    assert ('logged in as "demo-0001-check"' in findings[-1]["text"]) is elsewhere


def test_an_agent_that_cannot_be_asked_may_be_connected(
    checked: Checked, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: object) -> None:
        raise NoAgentError("may not be asked by this user") from PermissionError()

    monkeypatch.setattr("agent.live.client.ask_once", denied)
    _, findings = checked.run(CONFIG.format(port=broker.port))
    assert "login not tried: an agent may be connected, which cannot be asked: may not" in findings[-1]["text"]


def test_a_broker_that_does_not_answer_is_only_a_warning(checked: Checked) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    status, findings = checked.run(CONFIG.format(port=port))
    assert status == 0
    assert [f["subject"] for f in findings if f["level"] == "warning"] == ["mqtt.broker"]


def test_offline_leaves_the_broker_alone(checked: Checked) -> None:
    _, findings = checked.run(offline(), "--offline")
    assert "mqtt.broker" not in {finding["subject"] for finding in findings}


def test_a_wrong_configuration_tells_all_that_is_wrong_with_it(checked: Checked) -> None:
    status, findings = checked.run(offline() + 'keepalive = "30"\nkeepalve = 1\n')
    assert status == 2
    assert [finding["text"].split(":")[0] for finding in findings] == ["mqtt.keepalve", "mqtt.keepalive"]


def test_the_report_is_readable(checked: Checked, capsys: pytest.CaptureFixture[str]) -> None:
    checked.file.write_text(offline())
    assert cli.main(["check", "--config", str(checked.file), "--offline"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"ok       {checked.file}: vehicle demo-0001, buses car (simulator)"
    assert lines[-1] == "0 errors, 0 warnings: canferry run would start"


def test_a_missing_file_is_an_error_on_its_own(checked: Checked, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", "--config", "/nowhere/agent.toml"]) == 2
    assert capsys.readouterr().err == "error    /nowhere/agent.toml: cannot be read: No such file or directory\n"


def test_every_dbc_file_that_cannot_be_read_is_named(checked: Checked) -> None:
    (checked.folder / "not.dbc").write_text("nothing of a DBC")
    text = offline().replace('"small.dbc"', '"gone.dbc", "not.dbc", "small.dbc"')
    status, findings = checked.run(text, "--offline")
    assert status == 2
    errors = [finding["subject"] for finding in findings if finding["level"] == "error"]
    assert errors == ["bus[car].dbc", "bus[car].dbc"]
    assert [finding["text"].split(": ")[0] for finding in findings if finding["level"] == "error"] == [
        str(checked.folder / "gone.dbc"),
        str(checked.folder / "not.dbc"),
    ]
    assert any(finding["subject"].startswith(str(checked.folder / "small.dbc")) for finding in findings)


def test_a_broken_line_of_a_dbc_file_is_a_warning_with_its_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "some.dbc"
    lines = ["BU_: X", "BO_ 1 GOOD: 8 X", ' SG_ A : 0|8@1+ (1,0) [0|0] "" X', ' SG_ B : broken "" X', ""]
    file.write_text("\n".join(lines))
    assert cli.main(["check", "--dbc", str(file)]) == 0
    out = capsys.readouterr().out
    assert f"warning  {file}: 1 messages, 1 signals, loaded in part" in out
    assert f"\n    {file}:4: skipped: " in out
    assert out.endswith("0 errors, 1 warning: all are usable\n")


def test_dbc_files_are_checked_each_by_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = tmp_path / "copy.dbc"
    copy.write_bytes(demo_car_dbc().read_bytes())
    assert cli.main(["check", "--dbc", str(demo_car_dbc()), str(copy), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [(file["messages"], file["problems"]) for file in document["databases"]] == [(24, []), (24, [])]


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


def test_a_congestion_control_that_the_kernel_has_not_is_a_warning(
    checked: Checked, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = offline() + 'congestion = "bbr"\n'
    monkeypatch.setattr(endpoint, "control_congestion", lambda _, name: name != "bbr")
    assert checked.only(text, "warning", "--offline").startswith("mqtt.congestion: bbr is not there")
    monkeypatch.setattr(endpoint, "control_congestion", lambda _, name: name == "bbr")
    assert "mqtt.congestion" not in str(checked.run(text, "--offline"))


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


def with_credentials(folder: Path, certificate: str, key: str) -> str:
    return offline().replace("mqtt:", "mqtts:") + f'certificate = "{folder / certificate}"\nkey = "{folder / key}"\n'


def test_certificate_and_key_that_fit_are_sound(checked: Checked, credentials: Path) -> None:
    status, findings = checked.run(with_credentials(credentials, "good.pem", "good.key"), "--offline")
    assert status == 0
    (found,) = [finding for finding in findings if finding["subject"] == "mqtt.certificate"]
    assert found["level"] == "ok"
    assert "holds for 1000 days" in found["text"]


def test_what_the_endpoint_would_refuse_is_an_error(checked: Checked, credentials: Path) -> None:
    text = with_credentials(credentials, "good.pem", "good.key") + 'profile = "azure-iot-hub"\n'
    assert checked.only(text + 'keepalive = "1h"\n', "error", "--offline").startswith(
        'mqtt.keepalive: "1h" is too long'
    )
    status, findings = checked.run(text, "--offline")
    assert status == 0
    (told,) = [finding["text"] for finding in findings if finding["subject"] == "mqtt.profile"]
    assert told == "azure-iot-hub: MQTT 3.1.1, batches to devices/demo-0001/messages/events/kind=batch&class={class}"


def config_of(profile: Literal["generic", "aws-iot-core"]) -> Config:
    return Config(
        vehicle=VehicleConfig(id="car-1"),
        buses=(BusConfig(name="car", interface="simulator"),),
        mqtt=MqttConfig(broker="mqtts://localhost", profile=profile),
    )


@pytest.mark.parametrize(("messages", "warnings"), [(10, 0), (12_000, 1)])
def test_a_catalog_that_the_endpoint_does_not_take_is_a_warning(messages: int, warnings: int) -> None:
    random = secrets.SystemRandom()
    signals = (SignalDefinition("A", 0, 8),)
    known = [MessageDefinition("car", n, f"{random.getrandbits(100):X}", 8, signals) for n in range(messages)]
    found = list(check_catalog(config_of("aws-iot-core"), known))
    assert len(found) == warnings
    assert all("the endpoint takes 131072 a message" in finding.text for finding in found)


def test_a_definition_that_no_catalog_holds_is_an_error_as_it_is_for_run() -> None:
    known = [MessageDefinition("car", 1, "Rare", 8, (SignalDefinition("A", 0, 8),), cycle_ms=1 << 32)]
    (found,) = check_catalog(config_of("generic"), known)
    assert (found.level, found.subject) == ("error", "dbc")
    assert found.text.startswith("message Rare: a catalog cannot hold it")


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('id = "demo-0001"', 'id = "WVWZZZ1JZXW000001"', "vehicle.id"),
        ('id = "demo-0001"', 'id = "eu.WVWZZZ1JZXW000001"', "vehicle.id"),
        ("[mqtt]", '[mqtt]\nclient_id = "1M8GDM9AXKP042788"', "mqtt.client_id"),
    ],
)
def test_a_name_that_looks_like_a_vin_is_a_warning(checked: Checked, old: str, new: str, told: str) -> None:
    text = checked.only(offline().replace(old, new), "warning", "--offline")
    assert text.startswith(f"{told}: ")
    assert "looks like a VIN: whoever sees topics or logs knows the car; take a pseudonym" in text


@pytest.mark.parametrize("name", ["12345678901234567", "abcdefghijklmnopq", "WVWZZZ1JZXW00000", "WVWZZZ1JZXW0000012"])
def test_a_pseudonym_is_no_vin(checked: Checked, name: str) -> None:
    _, findings = checked.run(offline().replace("demo-0001", name), "--offline")
    assert {finding["level"] for finding in findings} == {"ok"}


def test_a_certificate_about_to_expire_is_a_warning(checked: Checked, credentials: Path) -> None:
    text = with_credentials(credentials, "short.pem", "short.key")
    assert checked.only(text, "warning", "--offline").endswith("short.pem: holds for 7 days")


def test_an_expired_certificate_is_a_warning(
    checked: Checked, credentials: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    later_s = expiry_s((credentials / "good.pem").read_text()) + 3 * 86_400
    monkeypatch.setattr("agent.cli.preflight.endpoint.time", SimpleNamespace(time=lambda: later_s))
    text = with_credentials(credentials, "good.pem", "good.key")
    assert "expired 3 days ago; the broker will refuse it" in checked.only(text, "warning", "--offline")


@pytest.mark.parametrize(
    ("certificate", "key", "expected"),
    [
        ("good.pem", "other.key", "they do not belong together"),
        ("good.pem", "gone.key", "mqtt.key"),
        ("gone.pem", "good.key", "mqtt.certificate"),
        ("good.key", "good.key", "not PEM"),
    ],
)
def test_credentials_that_do_not_fit_are_an_error(
    checked: Checked, credentials: Path, certificate: str, key: str, expected: str
) -> None:
    text = with_credentials(credentials, certificate, key)
    assert expected in checked.only(text, "error", "--offline")
    assert checked.run(text, "--offline")[0] == 2


def test_a_key_that_everybody_may_read_is_a_warning(checked: Checked, credentials: Path) -> None:
    key = checked.folder / "open.key"
    key.write_bytes((credentials / "good.key").read_bytes())
    key.chmod(0o644)
    text = with_credentials(credentials, "good.pem", str(key))
    assert checked.only(text, "warning", "--offline") == f"mqtt.key: {key}: every user may read it (chmod o-r)"


def test_a_missing_or_empty_password_file_is_named(checked: Checked) -> None:
    text = offline() + 'username = "u"\npassword_file = "pw"\n'
    assert str(checked.folder / "pw") in checked.only(text, "error", "--offline")
    (checked.folder / "pw").write_text("")
    (checked.folder / "pw").chmod(0o600)
    assert "the first line is empty" in checked.only(text, "warning", "--offline")


def test_the_expiry_date_is_the_certificates(credentials: Path) -> None:
    printed = subprocess.run(
        ["openssl", "x509", "-noout", "-enddate", "-in", str(credentials / "good.pem")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    date = dt.datetime.strptime(printed.strip(), "notAfter=%b %d %H:%M:%S %Y GMT").replace(tzinfo=dt.UTC)
    assert expiry_s((credentials / "good.pem").read_text()) == date.timestamp()


def test_what_is_no_certificate_has_no_expiry_date(credentials: Path) -> None:
    pem = (credentials / "good.pem").read_text().splitlines()
    for text in ("", "\n".join(pem[:3] + pem[-1:]), "\n".join([pem[0], pem[-1]])):
        with pytest.raises(ValueError, match="its expiry date cannot be read"):
            expiry_s(text)


def test_values_in_the_place_of_a_certificates_are_not_read(credentials: Path) -> None:
    der = bytearray(ssl.PEM_cert_to_DER_cert((credentials / "good.pem").read_text()))
    der[0] = 0x31  # a SET
    with pytest.raises(ValueError, match="its expiry date cannot be read"):
        expiry_s(ssl.DER_cert_to_PEM_cert(bytes(der)))


RULES = """
[[collect]]
message = "BRAKE_PRESSURE"
every = "1s"
[[trigger]]
name = "hard_braking"
when = "MASTER_PRESSURE > 80"
record = "*PRESSURE*"
"""


def ruled(rules: str) -> str:
    """Of the simulated car, as the DBC file that comes with it has it."""
    return offline(CONFIG.replace('dbc = ["small.dbc"]', "") + rules)


def test_the_plan_of_what_is_kept_is_shown(checked: Checked) -> None:
    status, findings = checked.run(ruled(RULES), "--offline")
    assert status == 0
    (plan,) = [finding for finding in findings if finding["subject"] == "collect"]
    assert "1 rules, 1 triggers: 8 signals kept, about " in plan["text"]
    assert plan["details"][1].split()[:5] == ["car.BRAKE_PRESSURE", "normal", "8", "of", "8"]
    assert plan["details"][-1].startswith("trigger hard_braking: critical, records *PRESSURE* from 10s before")


def test_the_plan_fits_a_terminal_and_is_whole_in_a_pipe(
    checked: Checked, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    checked.file.write_text(ruled(RULES))
    monkeypatch.setenv("COLUMNS", "70")

    def details() -> list[str]:
        cli.main(["check", "--config", str(checked.file), "--offline"])
        return [line for line in capsys.readouterr().out.splitlines() if line.startswith(" ")]

    wide = details()
    assert max(map(len, wide)) > 70
    assert (
        "trigger hard_braking: critical, records *PRESSURE* from 10s before to 10s after MASTER_PRESSURE > 80"
        in wide[-1]
    )
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    narrow = details()
    assert max(map(len, narrow)) <= 70
    assert sorted(" ".join(narrow).split()) == sorted(" ".join(wide).split())


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("BRAKE_PRESSURE", "BREAK_PRESSURE", 'collect[#1].message: the DBC files have no message "BREAK_PRESSURE"'),
        ("MASTER_PRESSURE", "MASTR_PRESSURE", 'trigger[hard_braking].when: the DBC files have no signal "MASTR_'),
        ("> 80", "> 800", "trigger[hard_braking].when: "),
        ("> 80", "> 80 [kPa]", "trigger[hard_braking].when: "),
    ],
)
def test_a_rule_that_does_not_fit_the_dbc_files_is_refused(checked: Checked, old: str, new: str, told: str) -> None:
    assert told in checked.only(ruled(RULES.replace(old, new)), "error", "--offline")
