# SPDX-License-Identifier: Apache-2.0
"""Every DBC file of the opendbc package loads: sound messages whole, equal to cantools' own, the rest named by line."""

from __future__ import annotations

import gc
import importlib.metadata
import logging
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cantools.database.can import Database
from cantools.database.errors import Error

from agent.decode.loading import load_databases
from agent.decode.report import LoadedDatabases, Severity, Subject
from agent.model import EXTENDED
from tests.support.cantools_view import as_cantools_says, as_defined

if TYPE_CHECKING:
    from collections.abc import Iterator

NO_WHEEL = sys.version_info >= (3, 13)
"""What these tests prove hangs on the files, not on the interpreter: they are read with Python 3.11 and 3.12."""
pytestmark = [pytest.mark.timeout(180), pytest.mark.skipif(NO_WHEEL, reason="opendbc 0.3.1 wants Python < 3.13")]

FOREIGN = "VECTOR__INDEPENDENT_SIG_MSG"
FILES = (
    []
    if NO_WHEEL
    else sorted(
        Path(str(file.locate()))
        for file in importlib.metadata.files("opendbc") or ()
        if file.name.lower().endswith(".dbc")
    )
)


@dataclass(frozen=True)
class Loaded:
    """A file as loaded, and as cantools loads it, None where it refuses the file."""

    path: Path
    ours: LoadedDatabases
    cantools: Any

    def lines(self, severity: Severity, subject: Subject) -> set[int]:
        return {p.line for p in self.ours.problems if p.severity is severity and p.subject is subject}


@pytest.fixture(scope="module", autouse=True)
def _collector_spared() -> Iterator[None]:
    """Collecting over all that the tests have imported takes longer than loading."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="module", params=FILES, ids=lambda path: path.stem)
def loaded(request: pytest.FixtureRequest) -> Loaded:
    path: Path = request.param
    logging.getLogger("cantools").setLevel(logging.ERROR)
    database = Database(strict=False)
    try:
        database.add_dbc_file(path, encoding="utf-8")
        refused = False
    except Exception:  # noqa: BLE001  it raises whatever a file makes happen
        refused = True
    ours = load_databases([("bus", path)])
    return Loaded(path, ours, None if refused else database)


def declared(path: Path) -> Iterator[tuple[int, str, list[int]]]:
    """Line and name of each message of a file, and the lines of its signals, read line by line."""
    here: list[int] | None = None
    for number, line in enumerate(path.read_bytes().decode("latin-1").splitlines(), 1):
        if match := re.match(r"\s*BO_\s+\d+\s+(\S+?)\s*:", line):
            here = []
            if match[1] != FOREIGN:
                yield number, match[1], here
        elif re.match(r"\s*SG_\s", line) and here is not None:
            here.append(number)


def loads_strictly(database: Any) -> bool:
    try:
        for message in database.messages:
            message.refresh(strict=True)
    except Error:
        return False
    return True


def test_the_package_has_its_files() -> None:
    assert len(FILES) >= 58


def test_every_message_is_loaded_or_named_with_its_line(loaded: Loaded) -> None:
    expected = list(declared(loaded.path))
    skipped = loaded.lines(Severity.SKIPPED, Subject.MESSAGE)
    lost_signals = loaded.lines(Severity.SKIPPED, Subject.SIGNAL)
    messages = loaded.ours.messages
    assert skipped <= {line for line, _, _ in expected}
    assert len(messages) + len(skipped) == len(expected)
    kept = [(name, signals) for line, name, signals in expected if line not in skipped]
    assert sorted((name, sum(signal not in lost_signals for signal in signals)) for name, signals in kept) == sorted(
        (message.name, len(message.signals)) for message in messages
    )


def test_what_cantools_loads_is_defined_alike(loaded: Loaded) -> None:
    if loaded.cantools is None:
        return
    assert not loaded.lines(Severity.SKIPPED, Subject.MESSAGE)
    lost = {(p.message, p.signal) for p in loaded.ours.problems if p.severity is Severity.SKIPPED}
    by_id = {message.can_id: message for message in loaded.ours.messages}
    for expected in loaded.cantools.messages:
        message = by_id[expected.frame_id | (EXTENDED if expected.is_extended_frame else 0)]
        assert (message.name, message.length) == (expected.name, expected.length)
        assert message.cycle_ms == (expected.cycle_time or 0)
        assert message.j1939 == (expected.protocol == "j1939" and expected.is_extended_frame)
        signals = [signal for signal in expected.signals if (expected.name, signal.name) not in lost]
        assert [as_defined(signal) for signal in message.signals] == [as_cantools_says(signal) for signal in signals]


def test_a_file_has_faults_exactly_where_cantools_strictly_refuses_it(loaded: Loaded) -> None:
    strict = loaded.cantools is not None and loads_strictly(loaded.cantools)
    harmless = (Subject.MESSAGE, Subject.FILE)
    faults = [p for p in loaded.ours.problems if p.severity is not Severity.NOTE or p.subject not in harmless]
    assert strict == (not faults), [str(problem) for problem in faults]
