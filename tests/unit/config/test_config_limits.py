# SPDX-License-Identifier: Apache-2.0
"""What a configuration file may not hold more of is said with its place, and costs next to nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from agent.config import inspect_config
from agent.config.reading import KEY_PARTS_MAX, LINE_CHARS_MAX, PROBLEMS_MAX, SECTIONS_MAX

if TYPE_CHECKING:
    from pathlib import Path

DEEP = ".".join("a" * KEY_PARTS_MAX)


def problems(tmp_path: Path, text: str) -> list[str]:
    path = tmp_path / "agent.toml"
    path.write_text(text)
    config, found = inspect_config(path)
    assert config is None
    return [str(problem) for problem in found]


@pytest.mark.parametrize(
    "line",
    [
        f"a.{DEEP} = 1",
        f"[ a . {DEEP} ]",
        f"[[a.{DEEP}]]",
        f'"a\\"b".{DEEP} = 1',
        f"x = {{ 'a b'.{DEEP} = 1 }}",
    ],
)
def test_a_key_of_too_many_parts_is_refused_with_its_line(tmp_path: Path, line: str) -> None:
    assert problems(tmp_path, f"# first\n{line}\n") == ["line 2 has a key of more than 16 parts: not a configuration"]


def test_a_key_of_as_many_parts_as_are_taken_is_none_of_ours(tmp_path: Path) -> None:
    assert problems(tmp_path, f"[{DEEP}]\n")[0].startswith("a: unknown key")
    assert "key of more" not in problems(tmp_path, f'[vehicle]\nid = "a.{DEEP}"\n')[0]


def test_a_line_that_is_too_long_is_refused_with_its_number(tmp_path: Path) -> None:
    found = problems(tmp_path, f'\n\na = "{"x" * LINE_CHARS_MAX}"\n')
    assert found == ["line 3 has more than 262,144 characters: not a configuration"]


def test_problems_without_end_are_cut(tmp_path: Path) -> None:
    found = problems(tmp_path, "".join(f"k{number} = 1\n" for number in range(1000)))
    assert len(found) == PROBLEMS_MAX + 1
    assert found[-1] == "100 problems are listed, and there may be more"


def test_sections_without_end_are_refused(tmp_path: Path) -> None:
    found = problems(tmp_path, "[[bus]]\n" * (SECTIONS_MAX + 1))
    assert "bus: 10,001 sections [[bus]]; accepted: up to 10,000" in found


def test_a_long_key_is_not_repeated_whole(tmp_path: Path) -> None:
    assert max(map(len, problems(tmp_path, "x" * 10_000 + " = 1\n"))) < 500
