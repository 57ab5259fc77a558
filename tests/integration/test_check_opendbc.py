# SPDX-License-Identifier: Apache-2.0
"""`canferry check --dbc` on DBC files as they are found in the wild: all of them are usable, problems have lines."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest


def opendbc_files() -> list[str]:
    spec = find_spec("opendbc")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return sorted(map(str, Path(next(iter(spec.submodule_search_locations))).rglob("*.dbc")))


@pytest.mark.timeout(240)
@pytest.mark.skipif(sys.version_info >= (3, 13), reason="opendbc 0.3.1 wants Python < 3.13")
def test_every_file_of_opendbc_is_usable_and_its_problems_have_lines() -> None:
    files = opendbc_files()
    assert len(files) >= 96
    command = [sys.executable, "-m", "agent", "check", "--json", "--dbc", *files]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert (done.returncode, done.stderr) == (0, "")
    document = json.loads(done.stdout)
    assert document["errors"] == 0
    assert [file["file"] for file in document["databases"]] == files
    assert all(
        file["messages"] > 0 for file in document["databases"] if "BO_ " in Path(file["file"]).read_text("latin-1")
    )
    for finding in document["findings"]:
        assert all(re.search(r"\.dbc(:\d+)?: (skipped|repaired|note): ", detail) for detail in finding["details"])
    assert any(problem["line"] for file in document["databases"] for problem in file["problems"])
