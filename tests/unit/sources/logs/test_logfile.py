# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import bz2
import gzip
import io
import itertools
import lzma
import os
import time
import tracemalloc
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import zstandard
from structlog.testing import capture_logs

from agent.errors import LogFileError
from agent.model import EXTENDED, FrameBlock, FrameFlag
from agent.sources.canlib import python_can
from agent.sources.logs.logfile import log_channels, read_log
from tests.support.oracle import messages, read_alike

if TYPE_CHECKING:
    from collections.abc import Callable

RECORDINGS = Path(__file__).parents[5] / "shared" / "data"


def candump_text(frames: int, step_s: float = 0.01) -> bytes:
    return b"".join(b"(%.6f) can0 %03X#%016X\n" % (100 + n * step_s, n % 0x800, n) for n in range(frames))


def whole(path: Path) -> FrameBlock:
    return FrameBlock.concatenate(list(read_log(path)))


def log_of(folder: Path, text: bytes, name: str = "drive.log") -> Path:
    path = folder / name
    path.write_bytes(text)
    return path


def test_blocks_are_bounded_by_the_log_time_they_span(tmp_path: Path) -> None:
    blocks = list(read_log(log_of(tmp_path, candump_text(1000)), span_s=1.0))
    assert [len(block) for block in blocks] == [100] * 10
    assert all(np.ptp(block.time_ns) < 1e9 for block in blocks)


def test_blocks_are_bounded_by_number(tmp_path: Path) -> None:
    path = log_of(tmp_path, candump_text(1000))
    assert [len(block) for block in read_log(path, frames_max=300, span_s=100)] == [300, 300, 300, 100]


def test_a_step_back_in_time_ends_a_block(tmp_path: Path) -> None:
    path = log_of(tmp_path, b"(50.0) can0 1#\n(50.1) can0 2#\n(3.0) can0 3#\n(3.1) can0 4#\n")
    assert [block.can_id.tolist() for block in read_log(path)] == [[1, 2], [3, 4]]


def test_pieces_of_the_text_leave_no_seam(tmp_path: Path) -> None:
    path = log_of(tmp_path, candump_text(1000))
    reader = read_log(path, piece_bytes=1000)
    assert [len(block) for block in reader] == [100] * 10
    assert reader.counters().frames == 1000


def test_blocks_are_no_wider_than_their_frames(tmp_path: Path) -> None:
    path = log_of(tmp_path, b"(1.0) can0 1##1" + b"AA" * 64 + b"\n(5.0) can0 2#11\n(9.0) can0 3##011\n")
    assert [block.data.shape for block in read_log(path)] == [(1, 64), (1, 8), (1, 8)]


@pytest.mark.parametrize(
    ("suffix", "compress"),
    [
        (".xz", lzma.compress),
        (".gz", gzip.compress),
        (".bz2", bz2.compress),
        (".zst", zstandard.ZstdCompressor().compress),
    ],
)
def test_compressed_logs_are_read_as_they_are(suffix: str, compress: Callable[[bytes], bytes], tmp_path: Path) -> None:
    text = candump_text(500)
    half = len(text) // 2
    path = log_of(tmp_path, compress(text[:half]) + compress(text[half:]), f"drive.log{suffix}")
    assert whole(path).can_id.tolist() == list(range(500))


def test_channels_get_indexes_in_order_of_appearance(tmp_path: Path) -> None:
    path = log_of(tmp_path, b"(1.0) can2 1#\n(1.0) can0 2#\n(1.0) can2 3#\n(1.1) can9 3#R\n")
    reader = read_log(path)
    assert [block.bus.tolist() for block in reader] == [[0, 1, 0]]
    assert reader.buses == {"can2": 0, "can0": 1, "can9": 2}
    assert reader.counters().remote_frames == {"can9": 1}
    assert log_channels(path) == {"can2": 2, "can0": 1, "can9": 0}


def test_given_buses_are_used_and_other_channels_ignored(tmp_path: Path) -> None:
    path = log_of(tmp_path, b"(1.0) can2 1#\n(1.0) can0 2#\n(1.0) can2 3#\n")
    reader = read_log(path, buses={"can0": 7})
    assert [(block.bus.tolist(), block.can_id.tolist()) for block in reader] == [([7], [2])]
    assert reader.ignored == 2


@pytest.mark.parametrize(("suffix", "events"), [(".log", 0), (".asc", 1), (".blf", 0)])
def test_frames_and_what_is_left_out_of_them_add_up(suffix: str, events: int, tmp_path: Path) -> None:
    path = tmp_path / f"drive{suffix}"
    with python_can().Logger(str(path)) as writer:
        for message in messages():  # 300 data frames, an error frame, a remote one
            writer.on_message_received(message)
    reader = read_log(path)
    assert (sum(map(len, reader)), reader.ignored) == (300, 2 + events)  # python-can's ASC: "Start of measurement"


def test_a_bad_line_costs_itself_is_counted_and_logged_once(tmp_path: Path) -> None:
    path = log_of(tmp_path, b"(1.0) can0 1#\nrubbish\n(1.0) can0 2#\nmore\n(1.0) can0 3#\n")
    reader = read_log(path, piece_bytes=20)
    with capture_logs() as lines:
        frames = FrameBlock.concatenate(list(reader))
    assert frames.can_id.tolist() == [1, 2, 3]
    assert reader.refused == 2
    (line,) = [line for line in lines if line["event"] == "log_line_refused"]
    assert (line["line"], line["reason"], line["path"]) == (2, "not a frame: 'rubbish'", str(path))


def test_a_look_at_the_channels_says_nothing_that_reading_the_log_says_again(tmp_path: Path) -> None:
    path = log_of(tmp_path, b"(1.0) can0 1#11\nrubbish\n(1.1) can0 2#1")
    with capture_logs() as lines:
        assert log_channels(path) == {"can0": 1}
    assert not lines


@pytest.mark.parametrize(
    ("last", "torn"),
    [
        ("(1.1) can0 2#112", True),
        ("(1.1) can0 2#11", True),  # a frame, but it may have been a longer one
        ("(1.1) can0 2##1" + "11" * 12, True),
        ("(1.1) can0", True),
        ("(1", True),
        ("(1.1) can0 2#1122334455667788", False),
        ("(1.1) can0 2##1" + "11" * 64, False),
        ("(1.1) can0 2#11 R", False),
        ("(1.1) can0 2#11\r", False),
    ],
)
def test_last_line_without_newline_counts_where_its_frame_is_complete(last: str, torn: bool, tmp_path: Path) -> None:
    reader = read_log(log_of(tmp_path, b"(1.0) can0 1#11\n" + last.encode()))
    with capture_logs() as lines:
        assert [block.can_id.tolist() for block in reader] == ([[1]] if torn else [[1, 2]])
    assert [line["event"] for line in lines] == ["log_file_torn"] * torn
    assert (reader.torn, reader.refused) == (torn, 0)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("missing.log", None, "No such file"),
        ("drive.log", b"no log\nat all\n", "line 1: not a frame: 'no log'"),
        ("drive.log", b"x" * 200_000, "no line end"),
        ("drive.xyz", b"whatever", "unknown log format '.xyz'; read are .log .asc"),
        ("drive.log.gz", b"this is not gzip", "cannot be decompressed: Not a gzipped file"),
        ("drive.log.xz", b"this is not xz", "cannot be decompressed"),
        ("drive.log.zst", b"this is not zst", "cannot be decompressed"),
        ("drive.blf.gz", b"this is not gzip", "cannot be decompressed"),
        ("drive.blf", b"this is not a BLF" * 20, "byte 0: no BLF log"),
        ("drive.blf", b"LOGG", "byte 0: no BLF log"),
        ("drive.blf", b"", "byte 0: no BLF log"),
        ("drive.trc", b"1 2\n4 5\n", "line 1: not a frame: '1 2'"),
        ("drive.csv", b"timestamp,id\nrubbish\n", "line 1: no columns of a CSV log"),
    ],
)
def test_what_cannot_be_read_is_one_line_that_says_what_and_where(
    name: str, content: bytes | None, message: str, tmp_path: Path
) -> None:
    path = tmp_path / name if content is None else log_of(tmp_path, content, name)
    with pytest.raises(LogFileError) as caught:
        list(read_log(path))
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_bad_line_of_a_trc_log_costs_itself(tmp_path: Path) -> None:
    text = b"     1)      1841 0001 8 00 00 00 00 00 00 00 00\n  2) 9\n     3)      1843 0002 1 77\n"
    reader = read_log(log_of(tmp_path, text, "drive.trc"))
    with capture_logs() as lines:
        assert [block.can_id.tolist() for block in reader] == [[1, 2]]
    assert reader.refused == 1
    assert [line["line"] for line in lines if line["event"] == "log_line_refused"] == [2]


def test_a_folder_is_no_log(tmp_path: Path) -> None:
    with pytest.raises(LogFileError, match="directory"):
        read_log(tmp_path)


def test_a_candump_log_of_any_name_is_known_by_its_first_line(tmp_path: Path) -> None:
    assert len(whole(log_of(tmp_path, candump_text(5), "candump-2026-11-22"))) == 5


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("drive.log", b""),
        ("drive.asc", b""),
        ("drive.csv", b"timestamp,arbitration_id,extended,remote,error,dlc,data\n"),
        ("drive.trc", b";$FILEVERSION=1.1\n"),
        ("drive.asc", b"this is\nanything else\n"),
    ],
)
def test_a_log_without_a_frame_says_so(name: str, content: bytes, tmp_path: Path) -> None:
    with capture_logs() as lines:
        assert not len(whole(log_of(tmp_path, content, name)))
    assert [line["event"] for line in lines] == ["log_empty"]


@pytest.mark.parametrize(
    ("suffix", "compress"),
    [(".xz", lzma.compress), (".gz", gzip.compress), (".zst", zstandard.ZstdCompressor().compress)],
)
@pytest.mark.parametrize("kept", [0.5, 0.01])
def test_a_torn_compressed_log_is_read_to_where_it_is_torn(
    suffix: str, compress: Callable[[bytes], bytes], kept: float, tmp_path: Path
) -> None:
    text = b"".join(b"(%d.0) can0 123#%s\n" % (n, os.urandom(8).hex().encode()) for n in range(20_000))
    packed = compress(text)
    path = log_of(tmp_path, packed[: int(len(packed) * kept)], f"drive.log{suffix}")
    reader = read_log(path)
    with capture_logs() as lines:
        block = FrameBlock.concatenate(list(reader))
    assert 20_000 * kept - 5000 < len(block) < 20_000 * kept + 500
    assert set(block.length.tolist()) <= {8}  # the line that the end cut short is no shorter frame
    assert reader.torn
    assert [line["event"] for line in lines] == ["log_file_torn"]
    assert lines[0]["frames_before"] == len(block)


def test_what_comes_behind_a_zstandard_frame_is_read_whatever_its_kind(tmp_path: Path) -> None:
    pack = zstandard.ZstdCompressor().compress
    text, skipped = candump_text(500), bytes.fromhex("502A4D18 04000000 00000000")  # RFC 8878, 3.1.2
    path = log_of(tmp_path, skipped + pack(text[:6000]) + skipped + pack(text[6000:]) + skipped, "drive.log.zst")
    reader = read_log(path)
    assert sum(map(len, reader)) == 500
    assert not reader.torn


def test_damage_amid_a_compressed_log_is_an_error_after_earlier_frames(tmp_path: Path) -> None:
    text = b"".join(b"(%d.0) can0 123#%s\n" % (n, os.urandom(8).hex().encode()) for n in range(20_000))
    packed = bytearray(bz2.compress(text, 1))
    packed[len(packed) // 2] ^= 0xFF
    reader = read_log(log_of(tmp_path, bytes(packed), "drive.log.bz2"))
    with pytest.raises(LogFileError, match=r"after line \d+: cannot be decompressed"):
        deque(reader, maxlen=0)
    assert reader.counters().frames > 5000


def test_the_file_is_closed_by_the_end_by_an_error_and_on_demand(tmp_path: Path) -> None:
    path = log_of(tmp_path, candump_text(2000))
    seen = []
    with read_log(path, piece_bytes=1000) as reader:
        next(reader)
        seen.append(reader._buffered.closed)
    seen.append(reader._buffered.closed)
    ended = read_log(path)
    deque(ended, maxlen=0)
    seen.append(ended._buffered.closed)
    assert seen == [False, True, True]


@pytest.mark.parametrize("suffix", [".log", ".asc", ".blf", ".csv", ".trc"])
@pytest.mark.parametrize("packed", ["", ".gz"])
def test_every_format_gives_what_python_cans_reader_gives(suffix: str, packed: str, tmp_path: Path) -> None:
    can = python_can()
    plain = tmp_path / f"drive{suffix}"
    with can.Logger(str(plain)) as writer:
        for message in messages():
            if suffix != ".trc" or not (message.is_fd or message.is_error_frame):
                writer.on_message_received(message)
    path = plain
    if packed:
        path = log_of(tmp_path, gzip.compress(plain.read_bytes()), plain.name + packed)
    told = {"relative_timestamp": False} if suffix == ".asc" else {}
    with can.io.player.MESSAGE_READERS[suffix](str(plain), **told) as reader:
        assert read_alike(path, reader, first_channel=suffix in {".asc", ".blf"}) > 200


@pytest.mark.parametrize(
    ("date", "trigger", "begin_s"),
    [
        ("date Mon Mar 2 10:00:00.250 am 2026", "", 1772442000.25),
        ("date Mon Mar 2 10:00:00 2026", "", 1772442000.0),
        ("date Mon Mar 2 10:00:00 2026", "Begin Triggerblock Mon Mar 2 10:00:05.000 am 2026", 1772442005.0),
        ("date lun. mars 2 10:00:00 2026", "", 1772442000.0),
        ("date 2026-03-02T10:00:00+00:00", "", 1772445600.0),  # the only kind that tells its zone
        ("// no date", "", 0.0),
    ],
)
def test_an_asc_logs_times_begin_at_its_date_which_is_local_time(
    date: str, trigger: str, begin_s: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    header = f"{date}\nbase hex  timestamps absolute\ninternal events logged\n{trigger}\n"
    path = log_of(tmp_path, (header + "   0.500000 1  123             Rx   d 2 11 22\n").encode(), "drive.asc")
    with monkeypatch.context() as there:
        there.setenv("TZ", "Europe/Berlin")
        time.tzset()
        block = whole(path)
    time.tzset()
    assert block.time_ns.tolist() == [int((begin_s + 0.5) * 1000) * 1_000_000]


def written(path: Path) -> bytes:
    """300 frames of eight bytes, by python-can's writer of the format."""
    can = python_can()
    with can.Logger(str(path)) as writer:
        for number in range(300):
            data = bytes([0xAA, number % 256] * 4)
            writer(can.Message(1_600_000_000 + number, number, is_extended_id=False, data=data, channel=0, is_rx=True))
    return path.read_bytes()


@pytest.mark.parametrize("suffix", [".asc", ".csv", ".trc"])
def test_text_that_is_cut_gives_the_frames_whose_lines_are_whole_and_says_so(suffix: str, tmp_path: Path) -> None:
    content = written(tmp_path / f"whole{suffix}")
    frames = whole(tmp_path / f"whole{suffix}").data.tolist()
    end = content.index(b"\n", len(content) // 2) + 1
    before = len(whole(log_of(tmp_path, content[:end], f"cut{suffix}")))
    for kept in range(end, content.index(b"\n", end) + 1):
        line_is_whole = content[kept:].startswith((b"\r", b"\n"))
        line_has_begun = bool(content[end:kept].strip())
        reader = read_log(log_of(tmp_path, content[:kept], f"cut{suffix}"))
        with capture_logs() as lines:
            assert FrameBlock.concatenate(list(reader)).data.tolist() == frames[: before + line_is_whole]
        torn = line_has_begun and not line_is_whole
        assert [line["event"] for line in lines] == ["log_file_torn"] * torn
        assert (reader.torn, reader.refused) == (torn, 0)


def test_a_blf_log_that_is_cut_gives_the_frames_before_and_says_so(tmp_path: Path) -> None:
    content = written(tmp_path / "drive.blf")
    frames = whole(tmp_path / "drive.blf").data.tolist()
    for kept in range(400, len(content), 37):
        reader = read_log(log_of(tmp_path, content[:kept], "cut.blf"))
        with capture_logs() as lines:
            seen = FrameBlock.concatenate(list(reader)).data.tolist()
        assert seen == frames[: len(seen)]
        assert [line["event"] for line in lines] == ["log_file_torn"]


def test_a_blf_log_whose_header_was_never_completed_is_torn_where_an_object_is(tmp_path: Path) -> None:
    content = bytearray(written(tmp_path / "drive.blf"))
    content[16:32] = bytes(16)  # sizes: recorders write them when they end
    torn = read_log(log_of(tmp_path, bytes(content[:-200]), "cut.blf"))
    assert 0 < sum(map(len, torn)) < 300
    assert torn.torn


def test_a_line_with_fewer_bytes_than_it_says_costs_itself(tmp_path: Path) -> None:
    text = (
        "date Mon Nov 22 10:00:00.000 am 2026\nbase hex  timestamps absolute\ninternal events logged\n"
        "   0.100000 1  123             Rx   d 2 11 22\n"
        "   0.200000 1  124             Rx   d 8 11 22\n"
        "   0.300000 1  125             Rx   d 9 11 22 33 44 55 66 77 88\n"
    )
    reader = read_log(log_of(tmp_path, text.encode(), "drive.asc"))
    assert FrameBlock.concatenate(list(reader)).can_id.tolist() == [0x123, 0x125]
    assert (reader.refused, reader.torn) == (1, False)


def test_a_bad_line_in_the_middle_of_an_asc_log_costs_itself(tmp_path: Path) -> None:
    text = (
        "date Mon Nov 22 10:00:00.000 am 2026\nbase hex  timestamps absolute\ninternal events logged\n"
        "   0.100000 1  123             Rx   d 2 11 22\n"
        "   0.200000 1  124             Rx   d 2 11 2Z\n"
        "   0.300000 1  125             Rx   d 2 11 22\n"
    )
    reader = read_log(log_of(tmp_path, text.encode(), "drive.asc"))
    with capture_logs() as lines:
        assert FrameBlock.concatenate(list(reader)).can_id.tolist() == [0x123, 0x125]
    assert reader.refused == 1
    assert [(line["event"], line["line"]) for line in lines] == [("log_line_refused", 5)]
    torn = log_of(tmp_path, text.encode()[: text.index("2Z") + 2], "torn.asc")
    reader = read_log(torn)
    assert len(FrameBlock.concatenate(list(reader))) == 1
    assert reader.torn


def test_a_large_log_is_never_held_as_a_whole(tmp_path: Path) -> None:
    path = log_of(tmp_path, candump_text(100_000, 0.001))
    tracemalloc.start()
    frames = sum(len(block) for block in read_log(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert frames == 100_000
    assert peak < path.stat().st_size


def test_identifiers_and_flags_survive(tmp_path: Path) -> None:
    block = whole(log_of(tmp_path, b"(1.0) can0 00000007#01\n(1.0) can0 007##302\n"))
    assert block.can_id.tolist() == [7 | EXTENDED, 7]
    assert block.flags.tolist() == [0, FrameFlag.FD | FrameFlag.BRS | FrameFlag.ESI]


@pytest.mark.recordings
@pytest.mark.parametrize(
    "name", ["rav4_highway.log.xz", "mustang_drive.log.xz", "obd2_gnss_drive.log.xz", "j1939_truck.log.xz"]
)
def test_a_recording_is_what_python_can_reads(name: str, tmp_path: Path) -> None:
    recording = RECORDINGS / name
    if not recording.exists():
        reason = f"no recording {recording}"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    with lzma.open(recording) as packed:
        text = b"".join(itertools.islice(packed, 10_000))
    assert read_alike(log_of(tmp_path, text), python_can().CanutilsLogReader(io.StringIO(text.decode()))) > 9000
