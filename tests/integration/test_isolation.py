# SPDX-License-Identifier: Apache-2.0
"""DBC files loaded in a real child process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from agent.decode import isolation
from agent.decode.loading import load_databases
from agent.errors import DatabaseError
from tests.car_dbc import car_dbc

pytestmark = pytest.mark.timeout(120)
ROOT = Path(__file__).parents[2]


def test_definitions_are_those_of_this_process_and_kept_and_used_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dbc, folder = car_dbc(tmp_path), tmp_path / "new" / "cache"
    first = load_databases([("can0", dbc)], cache=folder)
    assert first == load_databases([("can0", dbc)], isolated=False)
    monkeypatch.setattr(isolation, "_CHILD", "raise SystemExit(9)")
    again = load_databases([("can0", dbc)], cache=folder)
    assert repr(again) == repr(first)
    assert again == first
    assert len(again.problems) == 1


def test_what_is_wrong_is_told(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError, match="there is no such file"):
        load_databases([("can0", tmp_path / "gone.dbc")])


def test_cantools_and_python_can_are_left_out_of_this_process(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from agent.decode.loading import load_databases;"
        f"assert load_databases([('can0', Path({str(car_dbc(tmp_path))!r}))]).messages;"
        "assert not {'cantools', 'can', 'asammdf', 'pandas'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


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
