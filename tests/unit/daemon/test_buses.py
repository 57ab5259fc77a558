# SPDX-License-Identifier: Apache-2.0
"""What a reload does to the buses."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import msgspec

from agent.batch.catalog import Catalog
from agent.config import AgentConfig, CollectConfig, inspect_config
from agent.daemon import buses as room
from agent.daemon.assembly import load_decoding, make_collector
from agent.daemon.buses import Buses, Setup
from agent.model import Gap, GapKind, MessageDefinition
from agent.units import Size

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import pytest

    from agent.system.clock import Clock

CONFIG = """
[vehicle]
id = "car-1"
[[bus]]
name = "powertrain"
interface = "socketcan"
channel = "can0"
keep_unknown = true
[mqtt]
broker = "mqtt://localhost"
[spool]
path = "spool"
[agent]
receive_buffer = "{receive_buffer}"
"""


class Recorder:
    """Stands for the sources: when they were opened and closed, by one clock that goes on by one at each look."""

    def __init__(self) -> None:
        self.now_ns = 100
        self.opened: list[int] = []
        self.closed: list[int] = []

    def wall_ns(self) -> int:
        self.now_ns += 1
        return self.now_ns

    @contextlib.asynccontextmanager
    async def source(self) -> AsyncIterator[None]:
        self.opened.append(self.wall_ns())
        yield
        self.closed.append(self.wall_ns())


def setup(folder: Path, receive_buffer: str) -> Setup:
    path = folder / "agent.toml"
    path.write_text(CONFIG.format(receive_buffer=receive_buffer))
    read, problems = inspect_config(path)
    assert not problems
    assert read is not None
    return Setup(read, load_decoding(read))


def test_the_kernel_filters_buses_that_it_has(tmp_path: Path) -> None:
    (tmp_path / "car.dbc").write_text(
        "BU_: X\n" + "".join(f'BO_ {n} M{n}: 8 X\n SG_ S{n} : 0|8@1+ (1,0) [0|0] "" X\n' for n in (1, 2))
    )
    text = CONFIG.replace("keep_unknown = true\n", 'dbc = ["car.dbc"]\n[[collect]]\nsignal = "S1"\n')
    for interface, filtered in (("socketcan", {"powertrain"}), ("replay", set())):
        path = tmp_path / "agent.toml"
        path.write_text(text.replace('"socketcan"', f'"{interface}"').format(receive_buffer="1MiB"))
        config, problems = inspect_config(path)
        assert config is not None, problems
        assert set(Setup(config, load_decoding(config)).filters) == filtered


async def test_buses_opened_anew_are_a_gap_from_the_last_drain_until_they_listen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder()
    made: Any = lambda *_: [recorder.source()]  # noqa: E731
    monkeypatch.setattr(room, "make_sources", made)
    async with Buses(setup(tmp_path, "1MiB"), cast("Clock", recorder)) as buses:
        buses.drained_ns = recorder.wall_ns()
        recorder.wall_ns()
        assert await buses.follow(setup(tmp_path, "1MiB")) is None
        gap = await buses.follow(setup(tmp_path, "2MiB"))
    assert gap == Gap(
        GapKind.INTERRUPTED, buses.drained_ns, recorder.opened[1] + 1, detail="the buses were configured anew"
    )
    assert buses.drained_ns < recorder.closed[0] < recorder.opened[1]


def test_a_configuration_that_collects_the_same_goes_on_with_it(tmp_path: Path) -> None:
    running = setup(tmp_path, "1MiB")
    running = replace(running, collector=make_collector(running.config, running.decoding))
    same = setup(tmp_path, "2MiB")
    assert Setup.after(running, same.config, same.decoding) == Setup(same.config, running.decoding, running.collector)
    rule = msgspec.structs.replace(same.config, collect=(CollectConfig(),))
    ring = msgspec.structs.replace(same.config, agent=AgentConfig(ring=Size.parse("1MiB")))
    (bus,) = same.config.buses
    raw = msgspec.structs.replace(same.config, buses=(msgspec.structs.replace(bus, keep_unknown=False),))
    other = MessageDefinition("powertrain", 1, "M", 1, (), cycle_ms=10)
    defined = replace(same.decoding, catalog=Catalog(("powertrain",), (other,)))
    for config, decoding in (
        (rule, same.decoding),
        (ring, same.decoding),
        (raw, same.decoding),
        (same.config, defined),
    ):
        assert Setup.after(running, config, decoding).decoding is decoding
