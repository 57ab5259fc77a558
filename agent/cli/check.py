# SPDX-License-Identifier: Apache-2.0
"""``canferry check``: whether ``canferry run`` would start, and what it would find; exit 2 where it would refuse."""

from __future__ import annotations

import shutil
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from pathlib import Path
from typing import TYPE_CHECKING

from agent.cli.arguments import DEFAULT_CONFIG, add_j1939_argument
from agent.cli.stdout import json_text
from agent.errors import ConfigError
from agent.system.printable import printable_line

if TYPE_CHECKING:
    from argparse import Namespace, _SubParsersAction
    from collections.abc import Sequence

    from agent.cli.preflight import CheckResult
    from agent.collect.rules.forecast import Forecast
    from agent.config import Config
    from agent.decode.loading import J1939
    from agent.decode.report import LoadedDatabases

_EPILOG = """\
examples:
  canferry check --config agent.toml
  canferry check --dbc powertrain.dbc body.dbc
  canferry check --config agent.toml --offline --json

Errors are what run refuses to start with, and the broker's refusal of the login or of what run would publish: on
stderr, exit status 2. Warnings are what it lives with: exit status 0. A running agent stays connected: check logs in
under a name of its own, and what it publishes reaches nobody.
"""
_INDENT = "    "
_COLOURS = {"ok": "32", "warning": "33", "error": "31"}


def add_parser(subparsers: _SubParsersAction[ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "check",
        help="validate configuration, databases, credentials, disk and broker without starting",
        description="Validates all that run needs, without starting anything.",
        epilog=_EPILOG,
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--config", metavar="FILE", type=Path, help=f"the configuration; default without --dbc: {DEFAULT_CONFIG}"
    )
    parser.add_argument(
        "--dbc",
        metavar="FILE",
        nargs="+",
        action="extend",
        default=[],
        help="databases (DBC, KCD, SYM, ARXML), each checked by itself",
    )
    add_j1939_argument(parser)
    parser.add_argument("--offline", action="store_true", help="do not try to reach the broker")
    parser.add_argument("--json", action="store_true", help="the findings as one JSON object on stdout")
    parser.set_defaults(run=run)


def run(args: Namespace) -> int:
    """Check and print; 2 where `run` would refuse."""
    from agent.cli.preflight import CheckLevel

    findings, databases, plan = _check(args)
    refused = any(finding.level is CheckLevel.ERROR for finding in findings)
    if args.json:
        _print_json(findings, databases, plan)
    else:
        _print(findings, started="all are usable" if args.dbc and not args.config else "canferry run would start")
    return 2 if refused else 0


def _check(args: Namespace) -> tuple[list[CheckResult], list[LoadedDatabases], list[Forecast]]:
    from dataclasses import replace

    from agent.cli import preflight
    from agent.config import BusConfig

    findings: list[CheckResult] = []
    databases: list[LoadedDatabases] = []
    plan: list[Forecast] = []
    file = args.config if args.config or args.dbc else DEFAULT_CONFIG
    if args.j1939 is not None and not args.dbc:
        raise ConfigError("--j1939 is for the files of --dbc; in a configuration each [[bus]] says it by its key j1939")
    if file is not None:
        config, findings = preflight.check_config_file(file)
        if config is not None:
            width = shutil.get_terminal_size().columns - len(_INDENT) if sys.stdout.isatty() and not args.json else None
            loaded, plan, found = _check_config(config, width, offline=args.offline)
            databases.append(loaded)
            findings += [replace(finding, file=config.file) for finding in found]
    if args.dbc:
        # Each by itself: a bus of its own, so that no file takes another's identifiers.
        j1939: J1939 = "auto" if args.j1939 is None else args.j1939
        files = dict.fromkeys(args.dbc)
        alone = [BusConfig(name=name, interface="replay", dbc=(Path(name),), j1939=j1939) for name in files]
        loaded, found = preflight.check_databases(alone)
        databases.append(loaded)
        findings += found
    return findings, databases, plan


def _check_config(
    config: Config, width: int | None, *, offline: bool
) -> tuple[LoadedDatabases, list[Forecast], list[CheckResult]]:
    from agent.cli import preflight

    loaded, findings = preflight.check_databases(config.buses)
    plan, collecting = preflight.check_collecting(config, loaded.messages, width)
    findings += [*collecting, *preflight.check_buses(config.buses)]
    findings += [*preflight.check_modem(config), *preflight.check_disk(config)]
    findings += [*preflight.check_vehicle(config), *preflight.check_endpoint(config)]
    findings += preflight.check_catalog(config, loaded.messages)
    findings += _check_mqtt(config, loaded, offline=offline) if config.mqtt else ()
    return loaded, plan, findings


def _check_mqtt(config: Config, loaded: LoadedDatabases, *, offline: bool) -> list[CheckResult]:
    import asyncio

    from agent.cli import preflight
    from agent.cli.preflight.broker import check_broker

    findings = [*preflight.check_credentials(config), *preflight.check_congestion(config)]
    usable = all(finding.level is not preflight.CheckLevel.ERROR for finding in findings)
    if usable and not offline:
        findings += asyncio.run(check_broker(config, loaded.messages))
    return findings


def _print(findings: Sequence[CheckResult], *, started: str) -> None:
    coloured = sys.stdout.isatty()
    for finding in findings:
        level = f"{finding.level:<8}"
        if coloured:
            level = f"\x1b[{_COLOURS[finding.level]}m{level}\x1b[0m"
        sys.stdout.flush()  # in one order where both are one terminal
        refused = finding.level == "error"
        where = f"{finding.file}: " if refused and finding.file else ""  # as run tells it
        text = printable_line(f"{where}{finding.subject}: {finding.text}")
        print(f"{level} {text}", file=sys.stderr if refused else sys.stdout)
        for detail in finding.details:
            print(f"{_INDENT}{printable_line(detail)}")
    errors, warnings = _count_levels(findings)
    totals = f"{errors} error{'s' * (errors != 1)}, {warnings} warning{'s' * (warnings != 1)}"
    print(f"\n{totals}: {_refusal(findings) if errors else started}")


def _refusal(findings: Sequence[CheckResult]) -> str:
    from agent.cli.preflight import LOGIN, PUBLISH

    refused = [finding for finding in findings if finding.level == "error"]
    by_broker = all(finding.subject in (LOGIN, PUBLISH) for finding in refused)
    return "canferry run would start, and the broker refuse it" if by_broker else "canferry run would refuse"


def _print_json(
    findings: Sequence[CheckResult], databases: Sequence[LoadedDatabases], plan: Sequence[Forecast]
) -> None:
    from dataclasses import asdict

    from agent.decode.report import describe

    errors, warnings = _count_levels(findings)
    document = {
        "errors": errors,
        "warnings": warnings,
        "findings": [
            {
                "level": str(each.level),
                "file": each.file,
                "subject": each.subject,
                "text": each.text,
                "details": list(each.details),
            }
            for each in findings
        ],
        "databases": [file for loaded in databases for file in describe(loaded)],
        "plan": [asdict(each) for each in plan],
    }
    print(json_text(document))


def _count_levels(findings: Sequence[CheckResult]) -> tuple[int, int]:
    levels = [str(finding.level) for finding in findings]
    return levels.count("error"), levels.count("warning")
