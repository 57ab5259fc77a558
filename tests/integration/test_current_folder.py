# SPDX-License-Identifier: Apache-2.0
"""What lies in the current folder is data, whatever it is called."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.car_dbc import car_dbc


@pytest.mark.timeout(120)
def test_modules_that_lie_in_the_current_folder_are_not_run(tmp_path: Path) -> None:
    drive, out = tmp_path / "drive.log", tmp_path / "batches"
    drive.write_text("(1700000000.000000) can0 18FEF100#0111223344556677\n")
    dbc = car_dbc(tmp_path)
    for name in ("agent", "numpy", "cantools", "json", "pickle"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'run')!r}, 'a').write('{name}')\n")
    command = Path(sys.executable).parent / "canferry"
    done = subprocess.run(
        [command, "replay", drive, "--dbc", dbc, "--out", out], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr, (tmp_path / "run").exists()) == (0, "", False)
