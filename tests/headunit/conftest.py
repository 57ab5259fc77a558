# SPDX-License-Identifier: Apache-2.0
"""The machine that the tests of this folder run on, made once a session."""

from __future__ import annotations

import os

import pytest

from tests.headunit.machine import Machine, missing


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """User-Mode Linux, ready to boot; a skip where the host cannot, a failure where it must (CI)."""
    if reason := missing():
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return Machine(tmp_path_factory.mktemp("headunit"))
