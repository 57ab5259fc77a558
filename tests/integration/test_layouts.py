# SPDX-License-Identifier: Apache-2.0
"""Whatever a real drive is exported to, it is the same samples: every format and layout equals the JSON lines."""

from __future__ import annotations

import itertools
import json
import lzma
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from asammdf import MDF
from pyarrow import dataset, parquet

from agent.cli.report_page.recorded import recorded
from agent.config import config_from_arguments
from agent.decode.loading import load_databases
from agent.receiver.export import export
from agent.receiver.inventory import Inventory
from agent.receiver.writers import Arrangement
from tests.conftest import RECORDINGS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from agent.model import SignalDefinition

    Key = tuple[str, int, str, str]
    Samples = dict[Key, list[tuple[int, float]]]

pytestmark = [pytest.mark.recordings, pytest.mark.slow, pytest.mark.timeout(600)]
FRAMES = 8000
"""Of each: seconds of all that is cyclic, and compared in seconds."""
LOGS = {
    "mustang": ("mustang_drive.log.xz", {"can0": "mustang.dbc"}),
    "truck": ("j1939_truck.log.xz", {"can1": "j1939_demo.dbc", "can9": "canedge_internal.dbc"}),
}


class Drive:
    """A recording's batches, what the JSON lines have of them, and what the DBC files say."""

    def __init__(self, batches: Path, scratch: Path, definitions: dict[tuple[str, str, str], SignalDefinition]) -> None:
        self.batches, self.scratch, self.definitions = batches, scratch, definitions
        export(Inventory([batches]), "jsonl", scratch / "lines")
        self.samples: Samples = defaultdict(list)
        with (scratch / "lines").open() as lines:
            for frame in map(json.loads, lines):
                for signal, value in frame["signals"].items():
                    key = frame["bus"], frame["id"], frame["message"], signal
                    self.samples[key].append((round(frame["t"] * 1000), float(value)))

    def exported(self, name: str, arrangement: Arrangement | None = None) -> Path:
        out = self.scratch / f"out{len(list(self.scratch.iterdir()))}"
        export(Inventory([self.batches]), name, out, arrangement=arrangement)
        return out


@pytest.fixture(scope="module", params=LOGS)
def drive(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drive]:
    name, files = LOGS[request.param]
    log = tmp_path_factory.mktemp("log") / name.removesuffix(".xz")
    with lzma.open(RECORDINGS / name, "rt") as whole, log.open("w") as part:
        part.writelines(itertools.islice(whole, FRAMES))
    dbc = [f"{bus}={RECORDINGS / name}" for bus, name in files.items()]
    config = config_from_arguments(log, dbc)
    loaded = load_databases([(bus.name, path) for bus in config.buses for path in bus.dbc])
    named = {(each.bus, each.name, signal.name): signal for each in loaded.messages for signal in each.signals}
    with recorded(log, dbc, list(files), "car:1") as batches:
        yield Drive(batches, tmp_path_factory.mktemp(request.param), named)


def differing(found: Samples, expected: Samples) -> list[Key]:
    """Whose samples are not the same: said by name, for a difference of a million samples fills no screen."""
    return [key for key in sorted(found.keys() | expected.keys()) if found.get(key) != expected.get(key)]


def of_long(table: Any) -> Samples:
    frame = table.to_pandas()
    keys = ["bus", "id", "message", "signal"]
    found: Samples = {}
    for key, rows in frame.groupby(keys, observed=True, sort=False):
        found[key] = list(zip(milliseconds(rows["time"]), rows["value"].tolist(), strict=True))
    return found


def of_wide(name: str, table: Any) -> Samples:
    bus, _, message = name.partition(".")
    found: Samples = {}
    frame = table.to_pandas()
    for can_id, rows in frame.groupby("id", sort=False):
        times = np.array(milliseconds(rows["time"]))
        for signal in frame.columns:
            if signal not in ("time", "id", "extended", "vehicle", "day"):
                there = rows[signal].notna().to_numpy()
                if there.any():
                    values = rows[signal].to_numpy()[there].tolist()
                    found[bus, can_id, message, signal] = list(zip(times[there].tolist(), values, strict=True))
    return found


def milliseconds(times: Any) -> list[int]:
    numbers: list[int] = ((times.astype("int64") + 500_000) // 1_000_000).tolist()
    return numbers


def test_long_parquet(drive: Drive) -> None:
    assert differing(of_long(parquet.read_table(drive.exported("parquet"))), drive.samples) == []


def test_long_parquet_by_vehicle_and_day(drive: Drive) -> None:
    out = drive.exported("parquet", Arrangement(partition=True))
    table = dataset.dataset(out, partitioning="hive").to_table()
    assert differing(of_long(table), drive.samples) == []
    assert set(table["vehicle"].to_pylist()) == {"car:1"}
    days = {str(day) for day in table["day"].to_pylist()}
    assert days == {str(time.date()) for time in table["time"].to_pylist()}


@pytest.mark.parametrize("partition", [False, True])
def test_wide_parquet(drive: Drive, partition: bool) -> None:
    out = drive.exported("parquet", Arrangement(wide=True, partition=partition))
    found: Samples = {}
    units: dict[tuple[str, str, str], str] = {}
    texts: dict[tuple[str, str, str], dict[str, str]] = {}
    for path in sorted(out.iterdir()):
        table = dataset.dataset(path, partitioning="hive").to_table() if partition else parquet.read_table(path)
        name = path.name if partition else path.stem
        bus, _, message = name.partition(".")
        found |= of_wide(name, table)
        for column in table.schema:
            if column.metadata:
                told = {key.decode(): value.decode() for key, value in column.metadata.items()}
                units[bus, message, column.name] = told["unit"]
                texts[bus, message, column.name] = json.loads(told.get("values", "{}"))
    assert differing(found, drive.samples) == []
    for key, signal in ((key, drive.definitions[key]) for key in units):
        assert units[key] == signal.unit
        assert texts[key] == {str(raw): text for raw, text in signal.choices}


def test_mf4(drive: Drive) -> None:
    found: Samples = {}
    measured: Any = MDF(drive.exported("mf4"))
    with measured as file:
        start = file.header.start_time.timestamp()
        for number, group in enumerate(file.groups):
            bus, _, message = group.channel_group.acq_name.partition(".")
            can_id = int(group.channel_group.comment.removeprefix("id "), 16)
            for channel in group.channels[1:]:
                raw = file.get(channel.name, group=number, raw=True)
                numbers = raw.physical(ignore_value2text_conversions=True)
                if not len(numbers.samples):
                    continue
                times = [round((start + time) * 1000) for time in numbers.timestamps.tolist()]
                values = map(float, numbers.samples.tolist())
                found[bus, can_id, message, channel.name] = list(zip(times, values, strict=True))
                signal = drive.definitions[bus, message, channel.name]
                assert numbers.unit == signal.unit
                if signal.choices:
                    told = file.get(channel.name, group=number).samples.tolist()
                    names = dict(signal.choices)
                    assert all(
                        text.decode() == names[value]
                        for text, value in zip(told, raw.samples.tolist(), strict=True)
                        if value in names
                    )
    assert differing(found, drive.samples) == []
