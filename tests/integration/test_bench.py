# SPDX-License-Identifier: Apache-2.0
"""`canferry bench` measures what the product does, and tells it by frame and by second."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from agent.cli import benchmark, main
from agent.config import demo_car_dbc
from agent.physical import physical

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from agent.model import SignalDefinition

CONTRACT = {
    "us_per_frame": {"read", "decode", "collect", "encode", "cantools", "json_gzip"},
    "bytes_per_frame": {"batch", "json", "json_gzip"},
    "ratios": {"decode_vs_cantools", "pipeline_vs_cantools", "bytes_vs_json", "bytes_vs_json_gzip"},
}


def log_of(folder: Path, times: list[float]) -> Path:
    """Frames of the demo's car at these times."""
    log = folder / "drive.log"
    log.write_text("".join(f"({time:.6f}) can0 0C0#{n % 256:02X}00000000000000\n" for n, time in enumerate(times)))
    return log


def bench(log: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert main(["bench", str(log), "--dbc", str(demo_car_dbc()), "--json"]) == 0
    figures: dict[str, Any] = json.loads(capsys.readouterr().out)
    return figures


def test_bench_tells_all_its_figures_and_what_a_second_costs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = bench(log_of(tmp_path, [1e9 + n / 10 for n in range(300)]), capsys)
    assert {"frames", "frames_decoded", "signals_per_frame", "rss_bytes"} <= figures.keys()
    assert all(keys <= figures[name].keys() for name, keys in CONTRACT.items())
    second, frame = figures["us_per_second"], figures["us_per_frame"]
    assert second["all"] == pytest.approx(second["decode"] + second["collect"] + second["encode"], abs=0.01)
    assert figures["seconds"] == 30
    for stage, of_frame in (("decode", "decode_raw"), ("collect", "collect"), ("encode", "encode")):
        assert second[stage] * figures["seconds"] == pytest.approx(
            frame[of_frame] * figures["frames_decoded"], rel=0.01
        )


def test_bench_tells_what_multiplexed_frames_cost_beside_plain_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    signals = ' SG_ MODE M : 0|8@1+ (1,0) [0|0] "" A\n' + "".join(
        f' SG_ S{n} m{n} : {8 + n}|16@1+ (1,0) [0|0] "" A\n' for n in range(4)
    )
    (tmp_path / "car.dbc").write_text(f'VERSION ""\nBS_:\nBU_: A\nBO_ 192 MODES: 8 A\n{signals}\nBO_ 193 PLAIN: 8 A\n')
    log = log_of(tmp_path, [1e9 + n / 10 for n in range(300)])
    assert main(["bench", str(log), "--dbc", str(tmp_path / "car.dbc"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["multiplexed"]
    assert found["frames"] == 300
    assert found["ratio"] == pytest.approx(found["us_per_frame"] / found["us_per_plain_frame"], rel=0.01)
    assert main(["bench", str(log), "--dbc", str(tmp_path / "car.dbc")]) == 0
    assert "300 multiplexed frames alone" in capsys.readouterr().out
    assert bench(log, capsys)["multiplexed"] is None


def test_bench_decodes_by_the_path_of_exports(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    scaled = 0

    def counting(signal: SignalDefinition, raw: NDArray[np.uint64]) -> NDArray[Any]:
        nonlocal scaled
        scaled += len(raw)
        return physical(signal, raw)

    monkeypatch.setattr(benchmark, "physical", counting)
    figures = bench(log_of(tmp_path, [1e9 + n / 10 for n in range(300)]), capsys)
    values = figures["signals_per_frame"] * figures["frames_decoded"]
    assert scaled == pytest.approx(benchmark.REPEATS * values, rel=0.001)


def test_bench_of_two_clocks_has_blocks_of_a_second(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    figures = bench(log_of(tmp_path, [start + n / 100 for n in range(500) for start in (1e9, 12345)]), capsys)
    assert figures["seconds"] <= 7
