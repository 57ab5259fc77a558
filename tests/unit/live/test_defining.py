# SPDX-License-Identifier: Apache-2.0
"""What is told of a configuration can be sent, whatever bytes its paths have."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from agent.batch.catalog import Catalog, encode_catalog
from agent.config import load_config
from agent.live.protocol import VERSION, Answer, decode_answer, define, encode

if TYPE_CHECKING:
    from pathlib import Path


def test_a_path_that_is_no_utf_8_is_sent_escaped(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"dr\xffive")
    folder.mkdir()
    (folder / "agent.toml").write_text(
        '[vehicle]\nid = "a"\n[mqtt]\nbroker = "mqtt://a"\n'
        '[[bus]]\nname = "can0"\ninterface = "replay"\nchannel = "drive.log"\ndbc = ["car.dbc"]\n'
    )
    config = load_config(folder / "agent.toml")
    definitions = define(config, (), encode_catalog(Catalog(("can0",), ())))
    answer = decode_answer(encode(Answer(version=VERSION, definitions=definitions)))
    assert answer.definitions is not None
    (bus,) = answer.definitions.buses
    assert (bus.dbc, bus.channel) == ((f"{tmp_path}/dr\\udcffive/car.dbc",), f"{tmp_path}/dr\\udcffive/drive.log")
