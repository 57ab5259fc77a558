# SPDX-License-Identifier: Apache-2.0
"""What reading definitions costs a process that stays."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support.car_dbc import car_dbc

ROOT = Path(__file__).parents[2]


def test_dbc_files_are_read_without_cantools_and_python_can(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from agent.decode.loading import load_databases;"
        f"assert load_databases([('can0', Path({str(car_dbc(tmp_path))!r}))]).messages;"
        "assert not {'cantools', 'can', 'asammdf', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
