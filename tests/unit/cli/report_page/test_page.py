# SPDX-License-Identifier: Apache-2.0
"""The page says what the batches hold, and takes no text for markup."""

from __future__ import annotations

import re
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import numpy as np
import pytest

from agent.batch.catalog import Catalog, encode_catalog
from agent.batch.codec import Header, encode_batch
from agent.cli.report_page import plots
from agent.cli.report_page.page import page
from agent.cli.report_page.survey import Survey, survey
from agent.cli.report_page.writing import duration, number, size, text
from agent.decode.decoder import Decoder
from agent.decode.plan import Plan
from agent.errors import AgentError, ConfigError
from agent.model import BatchId, Event, Gap, GapKind, MessageDefinition, SignalDefinition
from agent.receiver.inventory import Inventory
from tests.support.samples import MS, SECOND, START, batch, block, modes, steer, store

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE = "<script>alert('1')</script>\"&"


class Tags(HTMLParser):
    """All elements, and each one's attributes."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def of(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.elements if tag == name]


def surveyed(tmp_path: Path) -> Survey:
    drive = [steer(START + n * 10 * MS, n, 90, n % 2) for n in range(100)]
    drive += [modes(START + n * 100 * MS, 2, bytes((n, 0, 0, 0))) for n in range(10)]
    store(tmp_path, 0, batch(0, drive))
    gap = Gap(GapKind.DROPPED, START + SECOND, START + 2 * SECOND, 7, detail="on can0")
    event = Event("triggered", START + 3 * SECOND, "hard_braking", detail="recorded")
    later = [steer(START + 3 * SECOND + n * 10 * MS, 5, 90) for n in range(50)]
    store(tmp_path, 2, batch(2, later, gaps=(gap,), events=(event,)))
    return survey(Inventory([tmp_path]))


def test_the_figures_are_those_of_the_batches(tmp_path: Path) -> None:
    found = surveyed(tmp_path)
    by_name = {each.message.name: each for each in found.messages if each.message}
    assert (found.vehicle, found.frames, found.batches, found.samples) == ("car-1", 160, 2, 150 * 3 + 10 * 2)
    assert {name: each.frames for name, each in by_name.items()} == {"STEER": 150, "MODES": 10}
    assert by_name["STEER"].period_ns == 10 * MS
    assert by_name["STEER"].silence_ns == 2 * SECOND + 10 * MS
    assert sum(each.size_bytes for each in found.messages) == pytest.approx(found.size_bytes)
    assert by_name["STEER"].size_bytes > by_name["MODES"].size_bytes
    assert found.on_wire_bytes > found.size_bytes
    assert [(gap.kind, gap.frames) for gap in found.gaps] == [("dropped", 7), ("missing", -1)]
    assert int(found.traffic["can0"].sum()) == 150


def test_the_page_tells_them(tmp_path: Path) -> None:
    content = "".join(page(surveyed(tmp_path), "received", 2.0))
    shown = unescape(re.sub("<[^>]*>", "\n", content))
    for said in ("car-1", "160", "470", "dropped: a queue was full", "missing: not among", "hard_braking", "received"):
        assert said in shown, said
    figures = {each["data-signal"]: each for each in Tags(content).of("figure") if "data-signal" in each}
    assert (figures["ANGLE"]["data-samples"], figures["ANGLE"]["data-least"]) == ("150", "-49.5")
    assert (figures["ANGLE"]["data-unit"], figures["STATE"]["data-names"]) == ("deg", 'Off\nOn "line"')
    constants = {each["data-signal"]: each for each in Tags(content).of("li") if "data-signal" in each}
    assert (constants["TORQUE"]["data-samples"], constants["TORQUE"]["data-least"]) == ("150", "-10.0")


def test_each_part_is_a_link_away(tmp_path: Path) -> None:
    content = "".join(page(surveyed(tmp_path), "x", 2.0))
    tags = Tags(content)
    places = [attributes["href"] for attributes in tags.of("a")]
    identified = {f"#{attributes['id']}" for _, attributes in tags.elements if "id" in attributes}
    assert len(places) >= 5
    assert set(places) <= identified
    assert "Messages (2)" in content


def test_cycles_are_a_column_only_where_the_dbc_files_tell_any(tmp_path: Path) -> None:
    found = surveyed(tmp_path)
    content = "".join(page(found, "x", 2.0))
    assert "DBC cycle" not in content
    for each in found.messages:
        assert each.message is not None
        each.message = replace(each.message, cycle_ms=20)
    content = "".join(page(found, "x", 2.0))
    assert "DBC cycle" in content
    head, *rows = content.partition("<table><thead>")[2].partition("</table>")[0].split("<tr")[1:]
    cells = len(re.findall("<t[hd][ >]", head))
    assert [len(re.findall("<t[hd][ >]", row)) for row in rows] == [cells] * len(found.messages)


def test_nothing_that_a_dbc_file_says_is_markup(tmp_path: Path) -> None:
    signal = SignalDefinition(HOSTILE, 0, 8, unit=HOSTILE, choices=((0, HOSTILE), (1, f"{HOSTILE}\n</figure>")))
    still = SignalDefinition(f"{HOSTILE}2", 8, 8, unit=HOSTILE, choices=((0, HOSTILE),))
    catalog = Catalog((HOSTILE,), (MessageDefinition(HOSTILE, 1, HOSTILE, 2, (signal, still)),))
    frames = block([(START + n * MS, 0, 1, bytes((n % 2, 0))) for n in range(4)])
    decoded = Decoder(Plan(catalog.buses, catalog.messages)).decode(frames)
    header = Header(
        BatchId("car-1", HOSTILE, 3),
        catalog.hash,
        MS,
        START,
        START + 3 * MS,
        4,
        gaps=(Gap(GapKind.DROPPED, START, START + MS, 1, detail=HOSTILE),),
        events=(Event(HOSTILE, START, HOSTILE, detail=HOSTILE),),
    )
    (tmp_path / "catalogs").mkdir()
    (tmp_path / "catalogs" / f"{catalog.hash}.catalog.zst").write_bytes(encode_catalog(catalog))
    (tmp_path / "x.batch.zst").write_bytes(encode_batch(header, decoded.signals, catalog.messages, 3))
    found = replace(survey(Inventory([tmp_path])), vehicle=HOSTILE)

    tags = Tags("".join(page(found, HOSTILE, 2.0)))

    assert len(tags.of("script")) == 1
    assert {each.get("data-signal") for each in tags.of("figure")} >= {HOSTILE}
    assert not [name for _, attributes in tags.elements for name in attributes if name.startswith("on")]


def test_the_page_asks_for_nothing_and_lets_only_its_own_script_run(tmp_path: Path) -> None:
    content = "".join(page(surveyed(tmp_path), "received", 2.0))
    tags = Tags(content)
    policy = next(each for each in tags.of("meta") if "http-equiv" in each)["content"] or ""
    assert policy.startswith("default-src 'none'")
    assert "script-src 'sha256-" in policy
    assert not [attributes for _, attributes in tags.elements if {"src", "srcset"} & set(attributes)]
    assert not [link for link in tags.of("a") if not (link["href"] or "").startswith("#")]
    assert not tags.of("link")


def test_too_many_traces_fold_and_then_become_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = surveyed(tmp_path)
    monkeypatch.setattr(plots, "TRACES_BYTES", 0)
    content = "".join(plots.signals(found))
    counted = {each["data-signal"] for tag in ("li", "figure") for each in Tags(content).of(tag)}
    assert not Tags(content).of("figure")
    assert counted == {"ANGLE", "TORQUE", "STATE", "KIND", "COUNT"}


def test_a_vehicle_that_has_no_frame_is_no_report(tmp_path: Path) -> None:
    store(tmp_path, 0, batch(0, []))
    with pytest.raises(AgentError, match="the batches hold no frame"):
        survey(Inventory([tmp_path]))
    with pytest.raises(ConfigError, match="no batch of vehicle x"):
        survey(Inventory([tmp_path]), "x")


def test_numbers_read_as_people_write_them() -> None:
    assert [number(value) for value in (0.0, -1.5, 1234567.0, 0.1 + 0.2, 1e-7)] == [
        "0",
        "\u22121.5",
        "1,234,567",
        "0.3",
        "1e\u221207",
    ]
    assert [size(count) for count in (0, 999, 151_230, 591e6, 2e12)] == ["0 B", "999 B", "151 kB", "591 MB", "2,000 GB"]
    assert [duration(seconds) for seconds in (59.94, 70, 7_322)] == ["59.9 s", "1 min 10 s", "2 h 2 min"]
    assert text("a\0<b>\u202e") == r"a\x00&lt;b&gt;\u202e"


def test_unordered_frames_are_drawn_where_they_belong(tmp_path: Path) -> None:
    frames = [steer(START + n * 10 * MS, n) for n in (5, 3, 4, 0, 9)]
    store(tmp_path, 0, batch(0, frames))
    found = survey(Inventory([tmp_path]))
    angle = found.messages[0].traces[0]
    (filled,) = np.nonzero(angle.low <= angle.high)
    assert angle.low[filled].tolist() == [0.0, -1.5, -2.0, -2.5, -4.5]
