# SPDX-License-Identifier: Apache-2.0
"""Durations, sizes and rates as people write them."""

from __future__ import annotations

import pytest

from agent.units import Duration, Quantity, Rate, Size


@pytest.mark.parametrize(
    ("kind", "text", "number"),
    [
        (Duration, "10s", 10_000_000_000),
        (Duration, "500ms", 500_000_000),
        (Duration, "1us", 1_000),
        (Duration, "0.5s", 500_000_000),
        (Duration, "0.000000001s", 1),
        (Duration, "5m", 300_000_000_000),
        (Duration, "2h", 7_200_000_000_000),
        (Duration, "10 s", 10_000_000_000),
        (Duration, "0s", 0),
        (Size, "48KiB", 49_152),
        (Size, "512MiB", 536_870_912),
        (Size, "200MB", 200_000_000),
        (Size, "1.5GiB", 1_610_612_736),
        (Size, "7B", 7),
        (Size, "64kB", 64_000),
        (Rate, "20KiB/s", 20_480),
        (Rate, "1MB/s", 1_000_000),
    ],
)
def test_a_number_and_a_unit_make_a_quantity(kind: type[Quantity], text: str, number: int) -> None:
    assert kind.parse(text) == number


@pytest.mark.parametrize("text", ["30", "", "s", "-1s", "1e3s", "10 sec", "10S", "ten s", "10s/s", "1s 2ms", "\u0661s"])
def test_what_has_no_number_or_no_unit_is_not_a_duration(text: str) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        Duration.parse(text)


def test_what_is_finer_than_a_nanosecond_or_a_byte_is_refused() -> None:
    with pytest.raises(ValueError, match="finer than the smallest step of a duration"):
        Duration.parse("0.5ns")
    with pytest.raises(ValueError, match="finer than the smallest step of a size"):
        Size.parse("0.3KiB")


def test_a_size_is_not_a_rate() -> None:
    with pytest.raises(ValueError, match="not a rate"):
        Rate.parse("20KiB")
    with pytest.raises(ValueError, match="not a size"):
        Size.parse("20KiB/s")


@pytest.mark.parametrize(
    ("quantity", "text"),
    [
        (Duration.parse("0.5s"), "500ms"),
        (Duration.parse("90s"), "90s"),
        (Duration.parse("3600s"), "1h"),
        (Duration(0), "0s"),
        (Size.parse("48KiB"), "48KiB"),
        (Size.parse("200MB"), "200MB"),
        (Size(0), "0B"),
        (Rate.parse("20KiB/s"), "20KiB/s"),
    ],
)
def test_a_quantity_is_printed_as_it_would_be_written(quantity: Quantity, text: str) -> None:
    assert f"{quantity}" == text
    assert type(quantity).parse(text) == quantity


def test_a_duration_tells_its_seconds() -> None:
    assert Duration.parse("1500ms").seconds == 1.5
