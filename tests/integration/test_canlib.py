# SPDX-License-Identifier: Apache-2.0
"""What importing python-can costs, in an interpreter of its own each time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(120)
ROOT = Path(__file__).parents[2]


def in_a_fresh_interpreter(code: str) -> str:
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


def test_python_can_comes_without_asammdf_and_pandas() -> None:
    code = (
        "import sys\n"
        "from agent.sources.canlib import python_can\n"
        "assert python_can() is python_can()\n"
        "print(python_can().__name__, sorted({'asammdf', 'pandas', 'numpy'} & set(sys.modules)))\n"
    )
    assert in_a_fresh_interpreter(code) == "can []"


def test_asammdf_is_there_for_whoever_asks_for_it_afterwards() -> None:
    pytest.importorskip("asammdf")
    code = "from agent.sources.canlib import python_can\npython_can()\nimport asammdf\nprint(asammdf.MDF.__name__)\n"
    assert in_a_fresh_interpreter(code) == "MDF"


def test_no_source_imports_python_can_before_it_is_needed() -> None:
    code = (
        "import sys\n"
        "import agent.sources.socketcan, agent.sources.replay, agent.sources.pythoncan\n"
        "print(sorted({'can', 'asammdf', 'zstandard'} & set(sys.modules)))\n"
    )
    assert in_a_fresh_interpreter(code) == "[]"
