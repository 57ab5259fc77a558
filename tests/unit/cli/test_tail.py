# SPDX-License-Identifier: Apache-2.0
"""What of `canferry tail`'s arguments goes together; the rest is in tests/integration/test_live.py."""

from __future__ import annotations

import pytest

from agent import cli


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--plot", "SPEED"], "--plot draws on a terminal, and this is none"),
        (["--plot", "SPEED", "--json"], "accepted: without --json"),
        (["--plot", "SPEED", "--once"], "accepted: without --once"),
        (["--plot", "SPEED", "--signal", "RPM"], "--signal beside --plot"),
        (["--seconds", "30"], "accepted: beside --plot"),
        (["--plot", "SPEED", "--seconds", "4"], "accepted: 5 to 3600 seconds"),
        (["--every", "fast"], "accepted: 0.05 to 60 seconds"),
        (["--every", "nan"], "accepted: 0.05 to 60 seconds"),
    ],
)
def test_what_does_not_go_together_is_refused_in_a_line(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["tail", "--socket", "/nowhere", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert err.count("\n") == 1
