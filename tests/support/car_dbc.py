# SPDX-License-Identifier: Apache-2.0
"""A small DBC file: a multiplexer, scaled signals, names of values, and a line that means nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

TEXT = """BO_ 2566844672 Wide: 8 ECU
 SG_ mode M : 0|8@1+ (1,0) [0|0] "" ECU
 SG_ speed m1 : 8|16@1- (0.25,-10) [0|1E3] "km/h" ECU
 SG_ count m2 : 8|16@0- (2,0) [0|0] "" ECU
hello
VAL_ 2566844672 mode 1 "one" ;
"""


def car_dbc(folder: Path) -> Path:
    """The file, written there."""
    path = folder / "car.dbc"
    path.write_text(TEXT)
    return path
