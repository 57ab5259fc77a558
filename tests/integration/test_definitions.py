# SPDX-License-Identifier: Apache-2.0
"""What reading definitions costs a process that stays."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.car_dbc import car_dbc

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "data" / "databases"


@pytest.mark.parametrize("kind", ["dbc", "kcd", "sym", "arxml"])
def test_databases_are_read_without_cantools_and_python_can_in_this_process(tmp_path: Path, kind: str) -> None:
    path = car_dbc(tmp_path) if kind == "dbc" else DATA / f"drive.{kind}"
    code = (
        "import sys; from pathlib import Path; from agent.decode.loading import load_databases;"
        f"assert load_databases([('can0', Path({str(path)!r}))]).messages;"
        "assert not {'cantools', 'can', 'asammdf', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
