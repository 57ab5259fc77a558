# SPDX-License-Identifier: Apache-2.0
"""How 29-bit identifiers are matched where DBC files are given on the command line."""

from __future__ import annotations

from argparse import BooleanOptionalAction
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import ArgumentParser

ADVICE = "--j1939 (in a configuration j1939 = true of the [[bus]])"


def add_j1939_argument(parser: ArgumentParser) -> None:
    """Add the option; None where it is not given."""
    parser.add_argument(
        "--j1939",
        action=BooleanOptionalAction,
        help="match 29-bit identifiers by PGN (J1939, NMEA 2000), or not; else as each DBC file says of itself",
    )
