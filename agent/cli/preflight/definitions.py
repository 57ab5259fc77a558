# SPDX-License-Identifier: Apache-2.0
"""Whether DBC files can be read, and what rules and triggers come to with them."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import msgspec

from agent.cli.preflight.result import ERROR, OK, WARNING, CheckResult
from agent.collect import config_check
from agent.collect.conditions.binding import Directory
from agent.collect.integrity.protection import protections_of
from agent.collect.rules.forecast import forecast, table, total
from agent.config.collecting import patterns
from agent.decode.loading import load_buses
from agent.decode.report import Severity
from agent.errors import DatabaseError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from agent.collect.rules.forecast import Forecast
    from agent.config import BusConfig, Config, TriggerConfig
    from agent.decode.report import FileReport, LoadedDatabases
    from agent.model import MessageDefinition


def check_databases(buses: Sequence[BusConfig]) -> tuple[LoadedDatabases, list[CheckResult]]:
    """The definitions of all files that can be read, and a finding a file."""
    findings = []
    try:
        loaded = load_buses(buses)
    except DatabaseError:
        readable = []
        # Each that cannot be read is told.
        for alone in [msgspec.structs.replace(bus, dbc=(path,)) for bus in buses for path in bus.dbc]:
            try:
                load_buses([alone])
            except DatabaseError as error:
                findings.append(_refused(alone.name, alone.dbc[0], error))
            else:
                readable.append(alone)
        loaded = load_buses(readable)
    findings += [_database_result(report) for report in loaded.files]
    return loaded, findings


def _refused(bus: str, file: Path, error: DatabaseError) -> CheckResult:
    """As the error of a key, unless the file was given by itself."""
    subject = f"bus[{bus}].dbc" if bus != str(file) else str(file)
    return CheckResult(ERROR, subject, str(error).removeprefix(f"{subject}: "))


def _database_result(report: FileReport) -> CheckResult:
    level = WARNING if report.count(Severity.SKIPPED) else OK
    text = f"{report.messages} messages, {report.signals} signals, loaded {report.how}"
    subject = report.file if report.bus == report.file else f"{report.file} on {report.bus}"
    return CheckResult(level, subject, text, tuple(str(problem) for problem in report.problems))


def check_collecting(
    config: Config, messages: Sequence[MessageDefinition], width: int | None = None
) -> tuple[list[Forecast], list[CheckResult]]:
    """What rules and triggers come to, and what is wrong with them; nothing where there are none.

    width   of the terminal on which the details are to fit; None: there is none
    """
    directory = Directory(messages)
    errors = [CheckResult(ERROR, key, text) for key, text in config_check.violations(config, directory)]
    if errors:
        return [], errors
    protections = protections_of(messages, config.integrity)
    verified = [CheckResult(OK, "integrity", f"{len(protections)} messages are verified")] if protections else []
    if not config.collect and not config.triggers:
        return [], verified
    findings = [CheckResult(WARNING, key, text) for key, text in config_check.doubtful(config, directory)]
    plan = list(forecast(config.collect, directory))
    kept = sum(each.kept for each in plan)
    rules = f"{len(config.collect)} rules" if config.collect else "without rules all is kept"
    details = table(plan, len(directory.decoded), width)
    for trigger in config.triggers:
        details += (
            [_trigger_text(trigger)]
            if width is None
            else textwrap.wrap(_trigger_text(trigger), width, subsequent_indent="  ")
        )
    text = f"{rules}, {len(config.triggers)} triggers: {kept} signals kept, {total(plan)}"
    return plan, [*findings, *verified, CheckResult(OK, "collect", text, tuple(details))]


def _trigger_text(trigger: TriggerConfig) -> str:
    record = ", ".join(patterns(trigger.record))
    window = f"{trigger.before} before to {trigger.after} after"
    return f"trigger {trigger.name}: {trigger.priority}, records {record} from {window} {trigger.when}"
