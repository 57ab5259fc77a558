# SPDX-License-Identifier: Apache-2.0
"""The command line as a whole: which command, which exit status, which line on stderr."""

from __future__ import annotations

import sys
import types
from typing import TYPE_CHECKING, Any

import pytest

from agent import __version__, cli
from agent.errors import AgentError, ConfigError, DatabaseError, LogFileError

if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Callable


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Namespace], int]], None]:
    """Put a command of the test's own in the place of `demo`."""

    def replace(run: Callable[[Namespace], int]) -> None:
        module = types.ModuleType("agent.cli.demo")

        def add_parser(subparsers: Any) -> None:
            parser: ArgumentParser = subparsers.add_parser("demo", help="a command of a test")
            parser.add_argument("--count", type=int)
            parser.set_defaults(run=run)

        module.add_parser = add_parser  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "agent.cli.demo", module)

    return replace


def raising(error: BaseException) -> Callable[[Namespace], int]:
    def run(_: Namespace) -> int:
        raise error

    return run


def test_a_command_gets_its_arguments_and_gives_the_status(command: Any) -> None:
    seen: list[int] = []

    def run(args: Namespace) -> int:
        seen.append(args.count)
        return 3

    command(run)
    assert cli.main(["demo", "--count", "7"]) == 3
    assert seen == [7]


def missing_log() -> LogFileError:
    error = LogFileError("drive.log: no such file")
    error.__cause__ = FileNotFoundError()
    return error


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ConfigError("a.toml: mqtt.broker: missing"), 2),
        (DatabaseError("a.dbc: not a DBC file"), 2),
        (AgentError("the link is down"), 1),
        (LogFileError("drive.log: line 7: not a frame"), 1),
        (missing_log(), 2),
        (ExceptionGroup("tasks", [AgentError("the link is down"), BrokenPipeError()]), 1),
        (ExceptionGroup("tasks", [AgentError("the link is down")]), 1),
        (ExceptionGroup("tasks", [AgentError("first"), ExceptionGroup("inner", [ConfigError("second")])]), 2),
    ],
)
def test_an_error_on_purpose_is_one_line_and_its_status(
    command: Any, capsys: pytest.CaptureFixture[str], error: Exception, status: int
) -> None:
    command(raising(error))
    assert cli.main(["demo"]) == status
    written = capsys.readouterr()
    assert written.out == ""
    lines = written.err.splitlines()
    assert all(line.startswith("canferry: ") for line in lines)
    assert len(lines) == (2 if "second" in written.err else 1)


def test_a_message_of_several_lines_becomes_one(command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    command(raising(AgentError("one\n  two")))
    assert cli.main(["demo"]) == 1
    assert capsys.readouterr().err == "canferry: one two\n"


def test_a_bug_keeps_its_traceback(command: Any) -> None:
    command(raising(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        cli.main(["demo"])
    command(raising(ExceptionGroup("tasks", [AgentError("x"), ZeroDivisionError()])))
    with pytest.raises(ExceptionGroup):
        cli.main(["demo"])


@pytest.mark.parametrize("error", [BrokenPipeError(), ExceptionGroup("tasks", [BrokenPipeError()])])
def test_a_reader_that_leaves_is_no_line(command: Any, capsys: pytest.CaptureFixture[str], error: Exception) -> None:
    command(raising(error))
    assert cli.main(["demo"]) == 1
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("error", [KeyboardInterrupt(), BaseExceptionGroup("tasks", [KeyboardInterrupt()])])
def test_an_interrupt_is_quiet(command: Any, capsys: pytest.CaptureFixture[str], error: BaseException) -> None:
    command(raising(error))
    assert cli.main(["demo"]) == 130
    assert capsys.readouterr().err == ""


def test_an_unknown_command_is_refused_with_the_nearest_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["rplay", "x.log"]) == 2
    written = capsys.readouterr()
    assert written.err.startswith('canferry: "rplay" is not a command; did you mean "replay"? accepted: demo, run,')
    assert written.err.count("\n") == 1


def test_a_wrong_option_is_one_line(command: Any, capsys: pytest.CaptureFixture[str]) -> None:
    command(raising(AssertionError()))
    assert cli.main(["demo", "--count", "many"]) == 2
    assert capsys.readouterr().err == (
        "canferry demo: argument --count: invalid int value: 'many' (see canferry demo --help)\n"
    )


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"canferry {__version__}\n"


def test_no_command_shows_the_commands_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    written = capsys.readouterr()
    assert written.out == ""
    assert all(f"    {name} " in written.err for name in cli.COMMANDS)


def test_help_lists_each_command_with_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    listing = capsys.readouterr().out
    assert all(f"    {name} " in listing for name in cli.COMMANDS)


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_help_with_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([name, "--help"]) == 0
    assert f"  canferry {name}" in capsys.readouterr().out.partition("\n")[2]
