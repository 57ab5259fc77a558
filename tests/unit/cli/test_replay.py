# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import socket
from argparse import Namespace
from typing import TYPE_CHECKING

import pytest

from agent import cli
from agent.cli.replay import _configured
from agent.config.rules import demo_car_dbc
from agent.daemon.options import mqtt_options, sender_options
from agent.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from agent.config import Config


@pytest.mark.parametrize(("written", "client_id"), [("", "car-2"), ('client_id = "bench"\n', "bench")])
def test_another_vehicle_connects_by_its_own_name(tmp_path: Path, written: str, client_id: str) -> None:
    (tmp_path / "drive.log").write_text("(1.0) can0 001#00\n")
    file = tmp_path / "agent.toml"
    file.write_text(
        '[vehicle]\nid = "car-1"\n[[bus]]\nname = "can0"\ninterface = "simulator"\n'
        f'[mqtt]\nbroker = "mqtt://localhost"\n{written}'
    )
    args = Namespace(log=tmp_path / "drive.log", config=file, dbc=None, vehicle="car-2", broker=None)
    config, _ = _configured(args)
    assert config.mqtt is not None
    assert (config.vehicle.id, config.mqtt.client_id) == ("car-2", client_id)


@pytest.mark.parametrize(
    ("vehicle", "broker", "says"),
    [
        ("../x", None, r'--vehicle: "\.\./x" is not of this form'),
        (None, "mqtt://localhost:port", r'--broker: "mqtt://localhost:port" is not of this form'),
        (None, "mqtt://me:secret@localhost", r"--broker: \(not shown\) is not of this form"),
    ],
)
def test_what_the_command_line_changes_of_a_configuration_is_held_to_its_rules(
    vehicle: str | None, broker: str | None, says: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=says):
        replayed(tmp_path, vehicle=vehicle, broker=broker)


@pytest.mark.parametrize(
    ("bus", "channels", "found"),
    [
        ('interface = "socketcan"\nchannel = "can1"', "can0 can1", {"can1": 0}),
        ('interface = "socketcan"\nchannel = "can7"', "can0 powertrain", {"powertrain": 0}),
        ('interface = "replay"\nchannel = "x"\noptions = { channel = "can1" }', "can0 can1", {"can1": 0}),
        ('interface = "socketcan"\nchannel = "can7"', "can0", {"can0": 0}),
        ('interface = "socketcan"\nchannel = "can7"', "can0 can1", None),
    ],
)
def test_the_logs_buses_are_found_in_the_configuration_or_told(
    bus: str, channels: str, found: dict[str, int] | None, tmp_path: Path
) -> None:
    (tmp_path / "drive.log").write_text("".join(f"(1.0) {channel} 001#00\n" for channel in channels.split()))
    file = tmp_path / "agent.toml"
    bus = f'[[bus]]\nname = "powertrain"\nkeep_unknown = true\n{bus}\n'
    file.write_text(f'[vehicle]\nid = "car-1"\n{bus}[mqtt]\nbroker = "mqtt://localhost"\n')
    args = Namespace(log=tmp_path / "drive.log", config=file, dbc=None, vehicle=None, broker=None)
    if found is None:
        with pytest.raises(ConfigError, match=r"no frame is of powertrain or can7; the log's buses: can0, can1"):
            _configured(args)
    else:
        assert _configured(args)[1] == found


def test_a_bus_that_the_log_has_not_is_told_with_those_it_has(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "drive.log"
    log.write_text("(1.0) can0 001#00\n(1.0) can1 001#00\n")
    dbc = f"can7={demo_car_dbc()}"
    assert cli.main(["replay", str(log), "--dbc", dbc, "--out", str(tmp_path / "out")]) == 2
    told = f"canferry: --dbc: {log}: no frame is of can7; the log's buses: can0, can1\n"
    assert capsys.readouterr().err == told
    assert (
        cli.main(["replay", str(log), "--dbc", dbc, "--dbc", str(demo_car_dbc()), "--out", str(tmp_path / "out")]) == 0
    )
    assert (
        capsys.readouterr().err
        == f"{told}canferry: no frame of can0, can1, can7 was decoded: is it the right DBC file for the right bus?\n"
    )


@pytest.mark.parametrize("bus", ["can7=", "can0="])
def test_a_bench_of_nothing_is_a_failure_that_names_the_logs_buses(
    bus: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "drive.log"
    log.write_text("(1.0) can0 001#00\n(1.1) can0 001#00\n(1.0) can1 001#00\n")
    assert cli.main(["bench", str(log), "--dbc", f"{bus}{demo_car_dbc()}"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"canferry: {log}: no frame was decoded")
    assert err.endswith("The log's buses: can0 (2 frames), can1 (1 frames)\n")


def replayed(
    folder: Path, more: str = "", vehicle: str | None = None, broker: str | None = "mqtts://elsewhere"
) -> Config:
    """To a broker of the command line, where the configured agent's socket is in the folder."""
    (folder / "drive.log").write_text("(1.0) can0 001#00\n")
    file = folder / "agent.toml"
    file.write_text(
        '[vehicle]\nid = "car-1"\n[[bus]]\nname = "can0"\ninterface = "simulator"\n'
        f'[agent]\nsocket = "{folder}/sock"\n[mqtt]\nbroker = "mqtts://localhost"\n{more}'
    )
    config, _ = _configured(Namespace(log=folder / "drive.log", config=file, dbc=None, vehicle=vehicle, broker=broker))
    return config


def test_a_replay_neither_disconnects_the_vehicles_agent_nor_speaks_for_it(tmp_path: Path) -> None:
    config = replayed(tmp_path)
    options = mqtt_options(config)
    assert (options.host, options.client_id, options.will_topic) == ("elsewhere", "car-1-replay", "")
    assert sender_options(config).status == ""
    assert sender_options(config).vehicle == "car-1"


def test_where_the_endpoint_takes_one_name_only_the_agent_has_to_be_stopped(tmp_path: Path) -> None:
    aws = 'profile = "aws-iot-core"\n'
    assert mqtt_options(replayed(tmp_path, aws)).client_id == "car-1"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as agent:
        agent.bind(str(tmp_path / "sock"))
        agent.listen()
        with pytest.raises(ConfigError, match=r"agent.toml: mqtt.client_id: aws-iot-core takes one connection"):
            replayed(tmp_path, aws)
        assert mqtt_options(replayed(tmp_path)).client_id == "car-1-replay"
