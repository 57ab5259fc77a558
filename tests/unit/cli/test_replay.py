# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

import pytest

from agent.cli.replay import _configured

if TYPE_CHECKING:
    from pathlib import Path


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
