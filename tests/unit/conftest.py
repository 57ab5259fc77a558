# SPDX-License-Identifier: Apache-2.0
"""What holds for the quick tests: no time limit for an example, here and in property/, since a machine may pause at
any moment; python-can as the agent imports it, without the asammdf and pandas behind it; and what a command has
configured of logging does not outlast its test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import structlog
from hypothesis import HealthCheck, settings

from agent.sources.canlib import python_can

if TYPE_CHECKING:
    from collections.abc import Iterator

settings.register_profile("patient", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")
python_can()


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    before = structlog.get_config()
    yield
    structlog.configure(**before)
