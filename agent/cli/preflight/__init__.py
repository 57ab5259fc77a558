# SPDX-License-Identifier: Apache-2.0
"""What the agent would find if it started now. Nothing is started; files that try a folder are removed.

Promise: an `ERROR` is what ``canferry run`` refuses to start with, or, of `LOGIN` and `PUBLISH`, what the broker
refuses for a reason that waiting does not mend; a `WARNING` is what it lives with: it tries again, or does less than
the configuration asks for. Every result is one line that says what and where, with further lines as details.

    definitions.py   DBC files, rules and triggers
    unit.py          configuration file, buses, modem, disk
    endpoint.py      names, credentials, what the broker's kind takes
    broker.py        the broker itself; by itself, for it imports the MQTT library

Limits: looked at with the rights of whoever asks, which may be more than the agent's; of the broker as `broker` says.
Failure: none of its own; whatever goes wrong is a result.
"""

from agent.cli.preflight.definitions import check_collecting, check_databases
from agent.cli.preflight.endpoint import (
    check_catalog,
    check_congestion,
    check_credentials,
    check_endpoint,
    check_vehicle,
)
from agent.cli.preflight.result import LOGIN, PUBLISH, CheckLevel, CheckResult, refuse
from agent.cli.preflight.unit import check_buses, check_config_file, check_disk, check_modem, check_spool

__all__ = [
    "LOGIN",
    "PUBLISH",
    "CheckLevel",
    "CheckResult",
    "check_buses",
    "check_catalog",
    "check_collecting",
    "check_config_file",
    "check_congestion",
    "check_credentials",
    "check_databases",
    "check_disk",
    "check_endpoint",
    "check_modem",
    "check_spool",
    "check_vehicle",
    "refuse",
]
