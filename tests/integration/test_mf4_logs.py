# SPDX-License-Identifier: Apache-2.0
"""Recorded MF4 logs as asammdf writes them, beside what python-can's reader makes of them."""

from __future__ import annotations

import gzip
import importlib
import struct
from typing import TYPE_CHECKING

import pytest

from agent.errors import LogFileError
from agent.model import EXTENDED, FrameFlag
from agent.sources.canlib import python_can
from agent.sources.logs.logfile import read_log
from tests.support.mf4_files import START_NS, Frame, logger_file
from tests.support.oracle import messages, read_alike
from tests.support.recorded_logs import seen_of

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(120)  # asammdf brings pandas


@pytest.mark.parametrize("packed", [False, True])
def test_a_log_gives_what_python_cans_reader_gives(packed: bool, tmp_path: Path) -> None:
    python_can()
    mf4 = importlib.reload(importlib.import_module("can.io.mf4"))  # it may have been imported without asammdf
    path = plain = tmp_path / "drive.mf4"
    with mf4.MF4Writer(str(plain)) as writer:
        for message in messages():
            writer.on_message_received(message)
    if packed:
        path = tmp_path / "drive.mf4.gz"
        path.write_bytes(gzip.compress(plain.read_bytes()))
    with mf4.MF4Reader(str(plain)) as reader:
        assert read_alike(path, reader) > 200


def test_what_is_no_mf4_log_is_one_line_that_says_so(tmp_path: Path) -> None:
    path = tmp_path / "drive.mf4"
    path.write_bytes(b"this is not MF4")
    with pytest.raises(LogFileError, match="byte 0: no MDF log"):
        list(read_log(path))


FRAMES = [
    Frame(100_000_000, 1, 0x123, bytes(range(8))),
    Frame(200_000_000, 2, 0x18FEF1FE, b"\x11\x22", extended=True),
    Frame(250_000_000, 2, error=True),
    Frame(300_000_000, 1, 0x7FF),
    Frame(400_000_000, 1, 0x123, b"\xff" * 3, fd=True),
]


@pytest.mark.parametrize(("packed", "missing"), [(False, ""), (True, ""), (False, "IDE"), (False, "DataLength")])
def test_records_of_groups_in_turn_with_payloads_elsewhere_are_frames(
    packed: bool, missing: str, tmp_path: Path
) -> None:
    log = seen_of(tmp_path, "drive.mf4", logger_file(FRAMES, packed=packed, missing=missing))
    frames = [frame for frame in FRAMES if not frame.error]
    assert log.times_ns == [START_NS + frame.time_ns for frame in frames]
    assert log.buses == [f"can{frame.bus}" for frame in frames]
    assert log.frames.can_id.tolist() == [frame.can_id | frame.extended * EXTENDED for frame in frames]
    assert log.payloads == [frame.payload.hex() for frame in frames]
    assert log.frames.flags.tolist() == [0, 0, 0, FrameFlag.FD]
    assert (log.ignored, log.refused, log.errors, log.events) == (1, 0, {"can2": 1}, [])


def test_asammdf_reads_the_same_of_what_is_built_here(tmp_path: Path) -> None:
    import asammdf

    (tmp_path / "drive.mf4").write_bytes(logger_file(FRAMES))
    with asammdf.MDF(tmp_path / "drive.mf4") as mdf:
        ids = mdf.get("CAN_DataFrame.ID", raw=True)
        assert ids.samples.tolist() == [0x123, 0x18FEF1FE, 0x7FF, 0x123]
        assert ids.timestamps.tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4])
        assert bytes(mdf.get("CAN_DataFrame.DataBytes", raw=True).samples[1])[:2] == b"\x11\x22"


@pytest.mark.parametrize("cut", [0, 1, 5, 20, 30])
def test_a_log_that_its_logger_did_not_finish_is_read_as_far_as_it_was_written(cut: int, tmp_path: Path) -> None:
    content = logger_file(FRAMES, finished=False)
    log = seen_of(tmp_path, "drive.mf4", content[: len(content) - cut])
    assert 3 <= len(log.frames) + (cut > 0) <= 4
    assert log.payloads[:3] == [frame.payload.hex() for frame in FRAMES if not frame.error][:3]
    assert log.failure == ""


def test_a_channel_outside_of_its_record_costs_its_group(tmp_path: Path) -> None:
    content = logger_file(FRAMES)
    place = content.index(struct.pack("<BBBBLL", 0, 0, 0, 0, 9, 29)) + 4
    damaged = content[:place] + struct.pack("<L", 1 << 24) + content[place + 4 :]
    log = seen_of(tmp_path, "drive.mf4", damaged)
    assert (len(log.frames), log.ignored, log.refused) == (0, 1, 1)
    assert "lies outside of its record" in str(log.said)


def test_a_chain_of_blocks_that_leads_back_into_itself_is_one_line(tmp_path: Path) -> None:
    content = bytearray(logger_file(FRAMES))
    group = content.index(b"##DG")
    content[group + 24 : group + 32] = struct.pack("<Q", group)
    log = seen_of(tmp_path, "drive.mf4", bytes(content))
    assert f"byte {group}: damaged: a chain of blocks leads back into itself" in log.failure


def test_an_older_mdf_is_named(tmp_path: Path) -> None:
    content = b"MDF     3.30    amdf8.8." + struct.pack("<HHH", 0, 0, 330) + bytes(100)
    log = seen_of(tmp_path, "drive.mf4", content)
    assert log.failure.endswith("byte 8: an MDF 3.30 log; read is MDF 4 (.mf4): convert it to that first")
