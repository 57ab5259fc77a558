# SPDX-License-Identifier: Apache-2.0
"""The tests of `netem/`, the uplink over a bad link as Linux makes it: run where there is netem, each reported here."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.headunit.inside import Result, names_inside, repeat, run_inside

INSIDE = Path(__file__).with_name("netem")
MODULES = ("veth", "sch_netem", "sch_fq", "tcp_bbr")
BOOT_AND_RUN_S = 900


def has_netem() -> bool:
    """Whether this kernel has what the tests need, in a namespace of our own."""
    attempt = "ip link add a type veth peer name b && tc qdisc add dev a root netem delay 1ms && sysctl -n "
    attempt += "net.ipv4.tcp_available_congestion_control | grep -qw bbr"
    return subprocess.run(["unshare", "--net", "sh", "-c", attempt], capture_output=True).returncode == 0


@pytest.fixture(scope="session")
def results(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Result]:
    """By test inside."""
    scratch = tmp_path_factory.mktemp("netem")
    return run_inside(request, INSIDE, scratch, test_s=400, all_s=BOOT_AND_RUN_S, here=has_netem(), modules=MODULES)


@pytest.mark.timeout(1000)
@pytest.mark.parametrize("name", names_inside(INSIDE))
def test_over_netem(name: str, results: dict[str, Result]) -> None:
    repeat(name, results)
