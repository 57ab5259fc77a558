# SPDX-License-Identifier: Apache-2.0
"""What holds for the quick tests: no time limit for an example, here and in property/, since a machine may pause at
any moment; and python-can as the agent imports it, without the asammdf and pandas behind it."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

from agent.sources.canlib import python_can

settings.register_profile("patient", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")
python_can()
