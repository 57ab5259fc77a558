# SPDX-License-Identifier: Apache-2.0
"""``canferry explain``: why a frame or a signal is or is not decoded, kept, sent."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from typing import TYPE_CHECKING

from agent.cli.arguments import DEFAULT_CONFIG, add_agent_arguments
from agent.cli.stdout import json_text, print_message

if TYPE_CHECKING:
    from argparse import Namespace, _SubParsersAction

_EPILOG = """\
examples:
  canferry explain 0x123
  canferry explain 18FEF100x
  canferry explain ENGINE_SPEED
  canferry explain car.ENGINE_SPEED.ENGINE_RPM --json

An id is decimal, or hexadecimal with 0x; an x behind it makes it a 29-bit one. Of the running agent it tells how often
a frame came, and the last one bit by bit; where no agent answers, what the configuration says. Exit status: 0; 1 where
nothing describes it and no frame of it has been received; 2 for wrong usage or configuration.
"""


def add_parser(subparsers: _SubParsersAction[ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "explain",
        help="an id, message or signal: which DBC file, how often, its bits, what keeps it",
        description="Tells all that definitions, rules and the running agent know of an id or a name.",
        epilog=_EPILOG,
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("subject", metavar="ID|NAME", help="such as 0x123, 291, 18FEF100x, MESSAGE, bus.MESSAGE.SIGNAL")
    add_agent_arguments(parser)
    parser.add_argument("--json", action="store_true", help="the explanation as one JSON object on stdout")
    parser.set_defaults(run=run)


def run(args: Namespace) -> int:
    """Explain; 1 where nothing is known of it."""
    from agent.live import explain_text
    from agent.live.explain import explain
    from agent.live.explain_input import gather

    known = gather(args.socket, args.config, DEFAULT_CONFIG)
    if known.silent:
        print_message(known.silent)
    explanation = explain(known, args.subject)
    if args.json:
        print(json_text(explain_text.plain(explanation) | {"agent": bool(known.time_ns)}))
    else:
        for line in explain_text.text_lines(explanation, known.time_ns, coloured=sys.stdout.isatty()):
            print(line)
    return int(not any(item.message or item.row for item in explanation.items))
