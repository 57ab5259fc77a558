# SPDX-License-Identifier: Apache-2.0
"""What the agent would find if it started now; nothing is started, written or sent.

Promise: an `ERROR` is what ``canferry run`` refuses to start with, a `WARNING` what it lives with: it tries
again, or does less than the configuration asks for. Every finding is one line that says what and where, with
further lines as details.

    definitions.py   DBC files, rules and triggers
    unit.py          configuration file, buses, modem, disk
    endpoint.py      names, credentials, broker

Limits: looked at with the rights of whoever asks, which may be more than the agent's. Reaching the broker takes
at most `endpoint.REACH_S`.
Failure: none of its own; whatever goes wrong is a finding.
"""

from agent.preflight.definitions import check_collecting, check_databases
from agent.preflight.endpoint import (
    check_broker,
    check_catalog,
    check_congestion,
    check_credentials,
    check_endpoint,
    check_vehicle,
)
from agent.preflight.finding import Finding, Level, refuse
from agent.preflight.unit import check_buses, check_config_file, check_modem, check_spool

__all__ = [
    "Finding",
    "Level",
    "check_broker",
    "check_buses",
    "check_catalog",
    "check_collecting",
    "check_config_file",
    "check_congestion",
    "check_credentials",
    "check_databases",
    "check_endpoint",
    "check_modem",
    "check_spool",
    "check_vehicle",
    "refuse",
]
