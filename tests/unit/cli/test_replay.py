# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import socket
from argparse import Namespace
from typing import TYPE_CHECKING

import pytest

from agent.cli.replay import _configured
from agent.errors import ConfigError
from agent.settings import mqtt_options, sender_options

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


def replayed(folder: Path, more: str = "", vehicle: str | None = None) -> Config:
    """To a broker of the command line, where the configured agent's socket is in the folder."""
    (folder / "drive.log").write_text("(1.0) can0 001#00\n")
    file = folder / "agent.toml"
    file.write_text(
        '[vehicle]\nid = "car-1"\n[[bus]]\nname = "can0"\ninterface = "simulator"\n'
        f'[agent]\nsocket = "{folder}/sock"\n[mqtt]\nbroker = "mqtts://localhost"\n{more}'
    )
    broker = "mqtts://elsewhere"
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
