# SPDX-License-Identifier: Apache-2.0
"""What is drawn in place on a terminal has the escape sequences of its drawing, and none of a name's."""

from __future__ import annotations

import re

import pytest

from agent.live.plot import Plot
from agent.live.signals import LiveMessage, Sample
from agent.live.snapshot import printable_snapshot
from agent.live.table import Table
from tests.support.snapshots import snapshot

HOSTILE = "\x1b]0;title\x07\x9b2J\u202e\n"
OURS = re.compile(r"\x1b\[[0-9;]*[mHJK]")
FORBIDDEN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2028]")
S = 10**9


@pytest.mark.parametrize("drawn", [Table(), Plot(60.0)], ids=["table", "plot"])
def test_a_drawing_has_no_control_character_of_a_name(drawn: Table | Plot) -> None:
    sample = Sample(HOSTILE, 1.5, unit=HOSTILE, name=HOSTILE, changed=True)
    message = LiveMessage(HOSTILE, 0x100, HOSTILE, True, 1, S, (sample,))
    screen = drawn.draw([message], S, 0, 400, 24)
    assert r"\x1b]0;title\x07\x9b2J\u202e\n" in screen
    assert FORBIDDEN.search(OURS.sub("", screen)) is None


def test_a_snapshot_for_people_is_the_same_but_for_its_texts() -> None:
    plain = snapshot(late={"uplink": 1.5}, network=("x",))
    assert printable_snapshot(plain) == plain
    shown = printable_snapshot(snapshot(vehicle=HOSTILE, bus_name="n" * 5000, link_last_error="n" * 5000))
    assert shown.vehicle == r"\x1b]0;title\x07\x9b2J\u202e\n"
    assert (len(shown.buses[0].name), len(shown.link.last_error)) == (200, 1000)
