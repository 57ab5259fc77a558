# SPDX-License-Identifier: Apache-2.0
"""Which pair is next, while certificates are being replaced."""

from __future__ import annotations

import shutil
import subprocess
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from agent.errors import ConfigError
from agent.uplink.certificate_rotation import DOUBT_S, CertificateRotation
from agent.uplink.mqtt_transport import Connector
from agent.uplink.options import MqttOptions
from agent.uplink.transport import RefusedError, Trouble

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="the openssl command makes the certificates")
DAY_S = 86_400.0


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs `first`, `second` (years) and `short` (a week)."""
    folder = tmp_path_factory.mktemp("pairs")
    for name, days in (("first", 1000), ("second", 1000), ("short", 7)):
        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        files = ["-keyout", str(folder / f"{name}.key"), "-out", str(folder / f"{name}.pem")]
        command = ["openssl", "req", "-x509", *curve, *files, "-days", str(days), "-subj", f"/CN={name}"]
        subprocess.run(command, check=True, capture_output=True)
    return folder


class Unit:
    """The files of a car, and its clock."""

    def __init__(self, made: Path, folder: Path) -> None:
        self.made, self.folder = made, folder
        self.now = time.time()
        self.rotation = CertificateRotation(lambda: self.now)
        self.options = MqttOptions("broker.example", certificate=folder / "car.pem", key=folder / "car.key")
        self.names: dict[bytes, str] = {}
        self.rotation.begin("broker.example:8883")

    def put(self, name: str, key: str = "") -> None:
        shutil.copy(self.made / f"{name}.pem", self.folder / "car.pem")
        shutil.copy(self.made / f"{key or name}.key", self.folder / "car.key")

    def connect(self) -> str:
        """With whose certificate."""
        self.rotation.context(self.options)
        pair = self.rotation.in_use
        assert pair is not None
        names = {path.read_bytes(): path.stem for path in self.made.glob("*.pem")}
        return names[pair.certificate]

    def prove(self, name: str) -> None:
        self.put(name)
        assert self.connect() == name
        self.rotation.proved()


@pytest.fixture
def unit(made: Path, tmp_path: Path) -> Unit:
    return Unit(made, tmp_path)


def test_a_new_pair_is_used_and_kept_when_it_has_proved_itself(unit: Unit) -> None:
    unit.prove("first")
    unit.put("second")
    assert unit.connect() == "second"
    assert unit.rotation.kept != unit.rotation.in_use
    with capture_logs() as logs:
        unit.rotation.proved()
        unit.rotation.proved()
    assert [line["event"] for line in logs] == ["certificate_changed"]
    assert unit.connect() == "second"


def test_refused_certificate_falls_back_to_the_previous_and_is_retried_later(unit: Unit) -> None:
    unit.prove("first")
    unit.put("second")
    unit.connect()
    with capture_logs() as logs:
        assert unit.rotation.refused("not authorized")
        assert unit.connect() == "first"
        unit.rotation.proved()
        assert unit.connect() == "first"
    (told,) = logs
    assert (told["event"], told["reason"]) == ("certificate_refused", "not authorized")
    assert "mend mqtt.certificate and mqtt.key" in told["hint"]
    unit.now += DOUBT_S
    assert unit.connect() == "second"


def test_closing_without_a_word_counts_the_second_time(unit: Unit) -> None:
    unit.prove("first")
    unit.put("second")
    unit.connect()
    assert not unit.rotation.refused("closed", silent=True)
    assert unit.connect() == "second"
    assert unit.rotation.refused("closed", silent=True)
    assert unit.connect() == "first"


def test_when_the_one_before_is_refused_as_well_the_new_one_is_next(unit: Unit) -> None:
    unit.prove("first")
    unit.put("second")
    unit.connect()
    unit.rotation.refused("not authorized")
    assert unit.connect() == "first"
    assert not unit.rotation.refused("not authorized")
    assert unit.connect() == "second"


@pytest.mark.parametrize(("name", "key"), [("second", "first"), ("second", "gone"), ("broken", "second")])
def test_files_that_are_half_replaced_change_nothing(unit: Unit, name: str, key: str) -> None:
    unit.prove("first")
    (unit.folder / "car.pem").write_bytes((unit.made / "second.pem").read_bytes()[: 100 if name == "broken" else None])
    if key == "gone":
        (unit.folder / "car.key").unlink()
    elif key != "first":
        shutil.copy(unit.made / f"{key}.key", unit.folder / "car.key")
    with capture_logs() as logs:
        assert [unit.connect() for _ in range(3)] == ["first"] * 3
    assert [line["event"] for line in logs] == ["certificate_refused"]
    assert "mqtt." in logs[0]["reason"]
    unit.put("second")
    assert unit.connect() == "second"


def test_a_pair_out_of_its_dates_is_not_tried_while_the_other_one_holds(unit: Unit) -> None:
    unit.prove("first")
    unit.put("short")
    unit.now += 8 * DAY_S
    with capture_logs() as logs:
        assert unit.connect() == "first"
    assert logs[0]["reason"] == "it is out of its dates"
    unit.now += 2000 * DAY_S  # neither holds: the clock may be wrong
    assert unit.connect() == "short"


def test_a_reload_gives_it_its_chance_at_once(unit: Unit) -> None:
    unit.prove("first")
    unit.put("second")
    unit.connect()
    unit.rotation.refused("not authorized")
    unit.rotation.begin("broker.example:8883")
    assert unit.connect() == "second"
    unit.rotation.refused("not authorized")
    assert unit.connect() == "first"


def test_another_broker_knows_nothing_of_the_pair_before(unit: Unit) -> None:
    unit.prove("first")
    unit.rotation.begin("other.example:8883")
    unit.put("second")
    assert unit.connect() == "second"
    assert not unit.rotation.refused("not authorized")
    assert unit.connect() == "second"


def test_a_first_pair_that_does_not_load_is_an_error(unit: Unit) -> None:
    unit.put("first", key="second")
    with pytest.raises(ConfigError, match="do not belong together"):
        unit.connect()


async def test_a_file_that_cannot_be_read_is_not_held_against_the_pair(unit: Unit) -> None:
    unit.prove("first")
    unit.put("second")
    options = replace(unit.options, username="car", password_file=unit.folder / "gone")
    with pytest.raises(RefusedError, match=r"mqtt.password_file .*gone: no such file") as caught:
        await Connector(options, rotation=unit.rotation).connect()
    assert caught.value.trouble is Trouble.UNAUTHORIZED
    assert unit.connect() == "second"


def test_a_key_is_never_shown(unit: Unit) -> None:
    unit.prove("first")
    key = (unit.folder / "car.key").read_text()
    assert key.splitlines()[1] not in repr(unit.rotation.kept)
    assert "PRIVATE" not in repr(unit.rotation.kept)
