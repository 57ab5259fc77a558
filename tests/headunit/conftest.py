# SPDX-License-Identifier: Apache-2.0
"""What the tests of this folder run on, made once a session: the machine, and a whole head unit in service on one.

The unit stays the same over all scenarios, as in a car; each leaves it running. `CANFERRY_DEB` names a package that is
built already.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.headunit.box import cloud as clouds
from tests.headunit.box.account import Account
from tests.headunit.box.cloud import Cloud
from tests.headunit.box.headunit import HeadUnit
from tests.headunit.box.scenario import Scenario
from tests.headunit.box.service import Service, configuration
from tests.headunit.machine import Machine, missing
from tests.support.package import built_package

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """User-Mode Linux, ready to boot; a skip where the host cannot, a failure where it must (CI)."""
    _demand(missing())
    return Machine(tmp_path_factory.mktemp("headunit"))


@pytest.fixture(scope="session")
def service(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A unit with systemd, the package installed and configured; the service is not started yet."""
    _demand(clouds.missing())
    folder = tmp_path_factory.mktemp("box")
    package = built_package(folder)
    with Cloud(folder / "cloud") as cloud:
        unit = HeadUnit(machine, cloud, folder / "unit")
        try:
            unit.boot()
            service = Service(unit)
            service.install(package)
            service.configure(configuration())
            yield service
        finally:
            unit.cut_power()


@pytest.fixture(scope="session")
def account(service: Service) -> Account:
    """Of all that the unit is sent, from the first scenario to the last."""
    return Account(service.unit.car, service.unit.cloud.out)


@pytest.fixture
def scenario(request: pytest.FixtureRequest, service: Service, account: Account) -> Iterator[Scenario]:
    """The service runs and the car drives."""
    service.start()
    name = request.node.name.removeprefix("test_").replace("_", " ")
    scenario = Scenario(name, service.unit, service, account)
    scenario.drive()
    yield scenario
    service.unit.car.rate(0)


def _demand(reason: str | None) -> None:
    if reason is None:
        return
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
