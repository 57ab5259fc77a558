# SPDX-License-Identifier: Apache-2.0
"""The command line: one module a command, thin: parse, call, print.

Each module of `COMMANDS` has ``add_parser(subparsers)``, which imports nothing heavy and sets ``run``, a
function from the parsed arguments to the exit status. Only the module of the command that is asked for is
imported.

Exit status: 0 success; 1 failure; 2 usage or configuration; 130 interrupted. Errors that canferry raises on
purpose (`AgentError`, what stdout refuses among them) become one line on stderr; a pipe that nobody reads any more
ends the command without a word; anything else is a bug and keeps its traceback.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import sys
from typing import TYPE_CHECKING, NoReturn

from agent import __version__
from agent.cli.stdout import open_stdout, print_message
from agent.errors import AgentError, ConfigError, DatabaseError, LogFileError
from agent.system.printable import printable, printable_line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

COMMANDS = (
    "demo",
    "run",
    "check",
    "status",
    "tail",
    "explain",
    "replay",
    "simulate",
    "receive",
    "export",
    "report",
    "erase",
    "bench",
)
_EPILOG = """\
Start with:   canferry demo
Then:         canferry check --config agent.toml && canferry run --config agent.toml
"""


class _Parser(argparse.ArgumentParser):
    """Says what is wrong with the arguments in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {printable_line(message)} (see {self.prog} --help)\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name; the result is the process's exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    open_stdout()
    return max(_ended(lambda: _run(arguments)), _ended(_flush))


def _ended(act: Callable[[], int]) -> int:
    """The status that it returns, or that its error has, told on stderr."""
    try:
        return act()
    except SystemExit as end:  # argparse ends so, on --help too
        return end.code if isinstance(end.code, int) else 0
    except BaseException as error:
        errors = _leaves(error)
        if all(isinstance(error, KeyboardInterrupt) for error in errors):
            return 130
        if not all(isinstance(error, AgentError | BrokenPipeError) for error in errors):
            raise
        return _fail([error for error in errors if isinstance(error, AgentError)])


def _run(arguments: list[str]) -> int:
    command = next((argument for argument in arguments if not argument.startswith("-")), None)
    if command is not None and command not in COMMANDS:
        nearest = difflib.get_close_matches(command, COMMANDS, 1)
        advice = f'did you mean "{nearest[0]}"? ' if nearest else ""
        print_message(f'"{printable(command)}" is not a command; {advice}accepted: {", ".join(COMMANDS)}')
        return 2
    listed = () if "--version" in arguments else COMMANDS
    parser = _parser(listed if command is None else (command,))
    parsed = parser.parse_args(arguments)
    if command is None:
        parser.print_help(sys.stderr)
        return 2
    from agent.system.log import configure_logging

    configure_logging("warning")  # on stderr, until a command knows better
    status: int = parsed.run(parsed)
    return status


def _flush() -> int:
    sys.stdout.flush()
    return 0


def _parser(commands: Sequence[str]) -> argparse.ArgumentParser:
    parser = _Parser(
        prog="canferry",
        description="Ferries a car's CAN signals to the cloud.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"canferry {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command")
    for command in commands:
        importlib.import_module(f"agent.cli.{command}").add_parser(subparsers)
    return parser


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return [error]


def _fail(errors: Sequence[AgentError]) -> int:
    """One line an error; the status of the gravest. None is a pipe that nobody reads: no line for that."""
    for text in dict.fromkeys(" ".join(str(error).split()) for error in errors):
        print_message(text)
    return max((_status(error) for error in errors), default=1)


def _status(error: BaseException) -> int:
    missing = isinstance(error, LogFileError) and isinstance(error.__cause__, FileNotFoundError)
    return 2 if missing or isinstance(error, (ConfigError, DatabaseError)) else 1
