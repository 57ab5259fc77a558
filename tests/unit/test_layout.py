# SPDX-License-Identifier: Apache-2.0
"""How the tests are laid out: short names, short files, and nothing that one suite takes from another."""

from __future__ import annotations

import ast
from pathlib import Path

TESTS = Path(__file__).parents[1]
LINES_MAX = 500
NAME_LENGTH_MAX = 79
STILL_LONG = {"faults/test_uplink.py", "unit/config/test_config.py", "unit/uplink/test_sender.py"}
"""To be split; nothing is added here."""


def test_files_of_tests_have_at_most_500_lines() -> None:
    lines = {path: len(path.read_text().splitlines()) for path in TESTS.rglob("*.py")}
    long = {str(path.relative_to(TESTS)): count for path, count in lines.items() if count > LINES_MAX}
    assert not {path: count for path, count in long.items() if path not in STILL_LONG}


def test_names_of_tests_have_less_than_80_characters() -> None:
    names = [
        f"{path.relative_to(TESTS)}::{node.name}"
        for path in TESTS.rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    ]
    long = [name for name in names if len(name.rpartition("::")[2]) > NAME_LENGTH_MAX]
    assert not long
