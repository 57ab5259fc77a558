# SPDX-License-Identifier: Apache-2.0
"""An MDF measurement has a channel group per message, scaled and named as the DBC says."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import pytest
from asammdf import MDF

from agent.receiver import mf4 as module
from agent.receiver.export import export
from agent.receiver.inventory import Inventory
from tests.support.samples import MS, SECOND, START, batch, modes, steer, store

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.support.samples import Frame


def measured(tmp_path: Path, *batches: Sequence[Frame]) -> Any:
    for number, frames in enumerate(batches):
        store(tmp_path, number, batch(number, frames))
    export(Inventory([tmp_path]), "mf4", tmp_path / "out.mf4")
    return MDF(tmp_path / "out.mf4")


def test_values_units_times_and_texts_are_the_dbcs(tmp_path: Path) -> None:
    with measured(tmp_path, [steer(START + 250 * MS, 3, 90, 0), steer(START + 750 * MS, -4, 110, 1)]) as file:
        angle, torque, state = (file.get(name) for name in ("ANGLE", "TORQUE", "STATE"))
        group = file.groups[0].channel_group

        assert file.header.start_time.timestamp() == 1_700_000_000
        assert (angle.samples.tolist(), angle.timestamps.tolist(), angle.unit) == ([-1.5, 2.0], [0.25, 0.75], "deg")
        assert (torque.samples.tolist(), torque.unit) == ([-10, 10], "N,m")
        assert state.samples.tolist() == [b"Off", b'On "line"']
        assert file.get("STATE", raw=True).samples.tolist() == [0, 1]
        assert (group.acq_name, group.comment) == ("can0.STEER", "id 0x104")


def test_a_value_that_its_table_has_no_text_for_is_a_number(tmp_path: Path) -> None:
    with measured(tmp_path, [steer(START, 3, 90, 2), steer(START + MS, 3, 90, 3)]) as file:
        assert file.get("STATE").samples.tolist() == [2, 3]


def test_a_signal_that_its_frame_did_not_carry_is_invalid(tmp_path: Path) -> None:
    frames = [
        modes(START, 1, struct.pack("<f", 2.5)),
        modes(START + MS, 2, (7).to_bytes(4, "little")),
        modes(START + 2 * MS, 1, struct.pack("<f", 3.5)),
    ]
    with measured(tmp_path, frames) as file:
        speed, count = file.get("SPEED"), file.get("COUNT")

        assert (speed.samples.tolist(), speed.timestamps.tolist()) == ([2.5, 3.5], [0.0, 0.002])
        assert (count.samples.tolist(), count.timestamps.tolist()) == ([7], [0.001])


def test_a_long_measurement_is_appended_piece_by_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROWS", 1)
    batches = [[steer(START + (10 * number + n) * MS, n) for n in range(10)] for number in range(3)]

    with measured(tmp_path, *batches) as file:
        angle = file.get("ANGLE")

        assert angle.samples.tolist() == [-0.5 * n for n in range(10)] * 3
        assert angle.timestamps.tolist() == [n / 1000 for n in range(30)]


@pytest.mark.parametrize("begin_ns", [-5 * SECOND, -4_611_686_018 * SECOND], ids=["seconds", "a century"])
def test_times_before_1970_are_negative_after_its_begin(tmp_path: Path, begin_ns: int) -> None:
    frames = [steer(begin_ns, 3), steer(begin_ns + 250 * MS, 4)]
    with measured(tmp_path, frames, [steer(START, 5)]) as file:
        angle = file.get("ANGLE")

        assert file.header.start_time.timestamp() == 0
        assert angle.samples.tolist() == [-1.5, -2.0, -2.5]
        assert angle.timestamps.tolist() == [begin_ns / SECOND, (begin_ns + 250 * MS) / SECOND, START / SECOND]
