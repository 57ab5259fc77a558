# SPDX-License-Identifier: Apache-2.0
"""``canferry demo``: the whole thing on a laptop, with an outage in the middle and a proof at the end."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from agent.cli.stdout import json_text

if TYPE_CHECKING:
    from argparse import Namespace, _SubParsersAction

    from agent.cli.demo_run.outcome import Outcome
    from agent.cli.demo_run.scenario import Scenario
    from agent.cli.demo_run.view import LogCapture, View

_EXTRA = ("amqtt", "rich")
_EPILOG = """\
examples:
  canferry demo
  canferry demo --seconds 60 --outage 40
  canferry demo --seconds 10 --outage 3 --json

A simulated car on a virtual bus, the real agent with its spool in a temporary folder, an MQTT broker in this process,
a cellular link that is cut in the middle, and the real receiver. No hardware, no network, no root; nothing is left
behind. Exit status: 0 when everything that was sent was received; 1 when a sample is missing.
"""


def add_parser(subparsers: _SubParsersAction[ArgumentParser]) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "demo",
        help="the whole thing on this machine: a car, an outage, and nothing lost",
        description="Drives a simulated car through an outage of its cellular link, and counts what arrives.",
        epilog=_EPILOG,
        formatter_class=RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seconds", metavar="S", type=float, default=20.0, help="how long it drives (default: 20)")
    parser.add_argument(
        "--outage",
        metavar="S",
        type=float,
        help="how long the link is cut, 0 for not at all (default: 6; a third of a drive shorter than 18 s)",
    )
    parser.add_argument("--json", action="store_true", help="the result as one JSON object on stdout")
    parser.set_defaults(run=run)


def run(args: Namespace) -> int:
    """Run the demo and print its result."""
    import asyncio

    from agent.cli.demo_run.scenario import Scenario
    from agent.errors import ConfigError

    scenario = Scenario.of(args.seconds, args.outage)
    missing = [name for name in _EXTRA if find_spec(name) is None]
    if missing:
        raise ConfigError(f"the demo needs {' and '.join(missing)}, not installed here: pip install 'canferry[demo]'")
    try:
        outcome = asyncio.run(_run_demo(scenario, as_json=args.json))
    except asyncio.CancelledError:  # SIGTERM
        return 143
    return 0 if outcome.complete else 1


async def _run_demo(scenario: Scenario, *, as_json: bool) -> Outcome:
    """Run it in a temporary folder; the agent's log is captured."""
    import asyncio
    import signal
    from tempfile import TemporaryDirectory

    from agent.cli.demo_run.view import LogCapture
    from agent.system.log import configure_logging

    this = asyncio.current_task()
    assert this is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, this.cancel)
    log_capture = LogCapture()
    configure_logging("debug", "json", log_capture)  # each batch is shown
    try:
        with TemporaryDirectory(prefix="canferry-demo-") as folder, _view() as view:
            view.report(0, "car, agent, broker and cloud are starting on this machine")
            from agent.cli.demo_run.runner import play  # a second of imports

            outcome, gaps = await play(scenario, view, log_capture, Path(folder))
    finally:
        configure_logging("warning")
    _print(outcome, gaps, log_capture, as_json=as_json)
    return outcome


def _view() -> View:
    """Live where stderr is a terminal that can be drawn on, else a line a second."""
    from rich.console import Console

    from agent.cli.demo_run.terminal_view import TerminalView
    from agent.cli.demo_run.view import PlainView

    console = Console(stderr=True, highlight=False)
    drawable = console.is_terminal and not console.is_dumb_terminal and console.encoding.startswith("utf")
    return TerminalView(console) if drawable else PlainView(sys.stderr)


def _print(outcome: Outcome, gaps: list[str], log_capture: LogCapture, *, as_json: bool) -> None:
    from rich.console import Console

    from agent.cli.demo_run.outcome import print_result

    if as_json:
        print(json_text(outcome.as_dict()))
    else:
        print_result(Console(highlight=False), outcome, gaps, log_capture.warnings)
