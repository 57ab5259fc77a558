# SPDX-License-Identifier: Apache-2.0
"""``canferry status``: how the running agent is, and why it sends no data; one screen."""

from __future__ import annotations

import shutil
import sys
import time
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from typing import TYPE_CHECKING

from agent.cli.arguments import add_agent_arguments, agent_socket
from agent.cli.stdout import json_text, print_message

if TYPE_CHECKING:
    from argparse import Namespace, _SubParsersAction

    from agent.live.diagnosis import Finding
    from agent.live.snapshot import Snapshot

WATCH_S = 2.0
_CLEAR, _UPPER_LEFT, _REST = "\x1b[2J", "\x1b[H", "\x1b[J"
_EPILOG = """\
examples:
  canferry status
  canferry status --watch
  canferry status --json | jq '.findings[].code'
  canferry status --log-level debug; journalctl -fu canferry

Exit status, also for health checks: 0 well; 1 somebody has to act (a finding of level "error"); 2 wrong usage, or no
agent answers; --watch ends with that of the last one.
--json prints {"findings": [{"code", "level", "about", "cause", "move"}, …], "snapshot": {…}}; a finding whose code was
renamed bears the old one as "was" for one release.
"""


def add_parser(subparsers: _SubParsersAction[ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "status",
        help="the running agent: buses, spool, link, and why there is no data",
        description="Asks the running agent how it is, and says what is wrong and what to do about it.",
        epilog=_EPILOG,
        formatter_class=RawDescriptionHelpFormatter,
    )
    add_agent_arguments(parser)
    parser.add_argument("--json", action="store_true", help="findings and status as one JSON object on stdout")
    parser.add_argument("--watch", action="store_true", help=f"again every {WATCH_S:.0f} s, until interrupted")
    parser.add_argument(
        "--log-level",
        choices=("debug", "info", "warning", "error"),
        default="",
        help="what the agent logs from now on, until it is reloaded or restarted",
    )
    parser.set_defaults(run=run)


def run(args: Namespace) -> int:
    """Ask and print; 1 where somebody has to act, 2 where no agent answers."""
    from agent.errors import AgentError
    from agent.live.client import ask_once

    path, status = agent_socket(args), 2
    try:
        while True:
            try:
                snapshot = ask_once(path, "status", log_level=args.log_level).snapshot
            except AgentError as error:
                status = 2
                if args.watch and sys.stdout.isatty():  # no status of an agent that is gone
                    print(_UPPER_LEFT + _CLEAR, end="", flush=True)
                print_message(str(error))
            else:
                assert snapshot is not None
                status = _print(snapshot, args)
            if not args.watch:
                return status
            time.sleep(WATCH_S)
    except KeyboardInterrupt:
        if not args.watch:
            raise
        if sys.stdout.isatty():
            print()
        return status


def _print(snapshot: Snapshot, args: Namespace) -> int:
    from agent.live.client import read_bitrates, with_bitrates
    from agent.live.diagnosis import diagnose, exit_status
    from agent.live.snapshot import printable_snapshot
    from agent.live.status_screen import screen

    snapshot = with_bitrates(snapshot, read_bitrates())
    snapshot = snapshot if args.json else printable_snapshot(snapshot)
    findings = diagnose(snapshot)
    if args.json:
        _print_json(snapshot, findings)
    else:
        terminal = sys.stdout.isatty()
        lines = screen(snapshot, findings, width=shutil.get_terminal_size().columns, coloured=terminal)
        before, after = (_UPPER_LEFT + _CLEAR, _REST) if args.watch and terminal else ("", "")
        print(before + "\n".join(lines) + after, flush=True)
    return exit_status(findings)


def _print_json(snapshot: Snapshot, findings: list[Finding]) -> None:
    from dataclasses import asdict

    import msgspec

    told = [asdict(finding) | ({"was": finding.was} if finding.was else {}) for finding in findings]
    document = {"findings": told, "snapshot": msgspec.to_builtins(snapshot)}
    print(json_text(document), flush=True)
