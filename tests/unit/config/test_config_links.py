# SPDX-License-Identifier: Apache-2.0
"""Relative paths of a configuration go by the path that it was given by, whatever is a link there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agent.config import load_config

if TYPE_CHECKING:
    from pathlib import Path

TEXT = """\
[vehicle]
id = "a"
[mqtt]
broker = "mqtts://a"
ca = "ca.pem"
[[bus]]
name = "can0"
interface = "socketcan"
channel = "can0"
dbc = ["dbc/car.dbc"]
"""


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    """A folder beside which versions of the configuration lie."""
    for version in ("7", "8"):
        (tmp_path / "versions" / version).mkdir(parents=True)
        (tmp_path / "versions" / version / "agent.toml").write_text(TEXT)
    (tmp_path / "canferry").mkdir()
    return tmp_path / "canferry"


def test_beside_a_link_to_a_file_lie_the_files_that_it_names(etc: Path) -> None:
    (etc / "agent.toml").symlink_to("../versions/7/agent.toml")
    config = load_config(etc / "agent.toml")
    assert config.buses[0].dbc == (etc / "dbc" / "car.dbc",)
    assert config.mqtt is not None
    assert config.mqtt.ca == etc / "ca.pem"


def test_through_a_link_to_a_folder_a_version_is_taken_whole(etc: Path) -> None:
    current = etc / "current"
    for version in ("7", "8"):
        current.unlink(missing_ok=True)
        current.symlink_to(f"../versions/{version}")
        (dbc,) = load_config(current / "agent.toml").buses[0].dbc
        assert dbc == current / "dbc" / "car.dbc"
        assert dbc.resolve().parent.parent == etc.parent / "versions" / version
