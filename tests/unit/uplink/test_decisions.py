# SPDX-License-Identifier: Apache-2.0
"""The uplink's pure decisions: how long to wait, what may go, what a code means, when a link is dead."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import ConfigError
from agent.uplink.backoff import Backoff
from agent.uplink.held_back import BATCHES_MAX, CLOSING_FIRST_S, CLOSING_MAX_S, ClosingBatches, HeldBack
from agent.uplink.in_flight import DeadLinkDetector, Traffic
from agent.uplink.options import MqttOptions, SenderOptions, parse_broker
from agent.uplink.properties import NONE
from agent.uplink.reasons import acknowledgement_text
from agent.uplink.send_policy import RateLimit, Window
from agent.uplink.transport import (
    LinkLimits,
    Outcome,
    Trouble,
    outcome_of_acknowledgement,
    trouble_of_disconnect,
    trouble_of_refusal,
)


def after(failures: int, trouble: Trouble = Trouble.UNREACHABLE) -> Backoff:
    backoff = Backoff()
    for _ in range(failures):
        backoff = backoff.failed(trouble)
    return backoff


def test_nothing_is_waited_for_before_the_first_failure_and_after_a_proof() -> None:
    assert Backoff().wait_s(0.9) == 0
    assert after(7).proved().wait_s(0.9) == 0


@pytest.mark.parametrize(("failures", "ceiling"), [(1, 1), (2, 2), (5, 16), (9, 256), (10, 300), (1000, 300)])
def test_the_ceiling_doubles_up_to_the_maximum(failures: int, ceiling: float) -> None:
    assert after(failures).wait_s(0.5) == pytest.approx(0.1 + (ceiling - 0.1) / 2)
    assert after(failures).wait_s(0.0) == 0.1


def test_no_two_rolls_wait_the_same() -> None:
    rolls = [number / 1000 for number in range(1000)]
    for backoff in (after(1), after(5), after(3, Trouble.BUSY)):
        assert len({backoff.wait_s(roll) for roll in rolls}) == len(rolls)


@pytest.mark.parametrize("trouble", [Trouble.BUSY, Trouble.UNAUTHORIZED, Trouble.TAKEN_OVER])
def test_patience_has_a_certain_half(trouble: Trouble) -> None:
    assert after(1, trouble).wait_s(0.0) == 8
    assert after(20, trouble).wait_s(0.0) == 150
    assert after(20, trouble).failed(Trouble.DROPPED).wait_s(0.5) == pytest.approx(150.05)


def test_mass_disconnect_reconnects_spread_out_until_first_ack() -> None:
    closed = Backoff(spread_s=30).failed(Trouble.DROPPED, closed=True)
    assert closed.wait_s(0.5) == pytest.approx(15, abs=0.1)
    assert closed.wait_s(0.0) == 0.1
    assert closed.failed(Trouble.UNREACHABLE).wait_s(0.5) == pytest.approx(15, abs=0.1)
    assert closed.proved().failed(Trouble.UNREACHABLE).wait_s(0.5) <= 1
    assert Backoff(maximum_s=4, spread_s=30).failed(Trouble.DROPPED, closed=True).wait_s(0.999) <= 4


def test_a_link_that_the_network_lost_does_not_wait_for_the_spread() -> None:
    assert Backoff(spread_s=30).failed(Trouble.DROPPED).wait_s(0.999) <= 1


@given(st.integers(1, 40), st.sampled_from(Trouble), st.floats(0, 1, exclude_max=True))
def test_nobody_connects_sooner_than_the_endpoint_takes_it(failures: int, trouble: Trouble, roll: float) -> None:
    backoff = Backoff(base_s=0.01, maximum_s=0.5, least_s=1.0)
    for _ in range(failures):
        backoff = backoff.failed(trouble)
    assert backoff.wait_s(roll) >= 1.0


@given(st.integers(0, 10_000), st.sampled_from(Trouble), st.floats(0, 1, exclude_max=True))
def test_every_wait_is_bounded(failures: int, trouble: Trouble, roll: float) -> None:
    wait_s = Backoff(failures=failures, patient=trouble is Trouble.BUSY).failed(trouble).wait_s(roll)
    assert 0.1 <= wait_s <= 300


def test_acknowledgement_codes_mean_what_the_table_says() -> None:
    meaning = {code: outcome_of_acknowledgement(code) for code in range(256)}
    named = {
        Outcome.ACCEPTED: {0x00},
        Outcome.NO_SUBSCRIBERS: {0x10},
        Outcome.UNAUTHORIZED: {0x87},
        Outcome.UNACCEPTABLE: {0x90, 0x95, 0x99},
    }
    for outcome, codes in named.items():
        assert {code for code, found in meaning.items() if found is outcome} == codes
    assert sum(found is Outcome.BUSY for found in meaning.values()) == 256 - 6


def test_disconnect_and_refusal_codes_mean_what_the_table_says() -> None:
    assert {code for code in range(256) if trouble_of_disconnect(code) is Trouble.BUSY} == {
        0x88,
        0x89,
        0x93,
        0x96,
        0x97,
        0x9F,
    }
    assert trouble_of_disconnect(0x8E) is Trouble.TAKEN_OVER
    assert trouble_of_disconnect(0x87) is Trouble.UNAUTHORIZED
    assert trouble_of_disconnect(0x95) is Trouble.UNACCEPTABLE
    assert trouble_of_disconnect(0x8B) is Trouble.DROPPED
    assert {code for code in range(256) if trouble_of_refusal(code) is Trouble.UNAUTHORIZED} == {
        0x85,
        0x86,
        0x87,
        0x8A,
        0x8C,
    }
    assert trouble_of_refusal(0x84) is Trouble.UNREACHABLE


def test_the_brokers_words_are_one_short_line() -> None:
    words = b"first\nsecond  " + b"x" * 100
    properties = bytes([len(words) + 3]) + b"\x1f" + len(words).to_bytes(2, "big") + words
    text = acknowledgement_text(0x97, properties)
    assert text.startswith("quota exceeded (0x97): first second xxx")
    assert "\n" not in text
    assert acknowledgement_text(0, properties) == ""


@given(st.binary(max_size=300))
def test_properties_of_any_content_yield_a_text(properties: bytes) -> None:
    assert acknowledgement_text(0x87, properties).startswith("not authorized (0x87)")


def test_the_backlog_leaves_room_for_a_live_batch() -> None:
    window = Window(4, 100)
    for _ in range(3):
        assert window.fits(20, behind=1)
        window.add(20)
    assert not window.fits(20, behind=1)
    assert window.fits(40, behind=0)
    assert not window.fits(41, behind=0)
    window.add(20)
    assert not window.fits(1, behind=0)


def test_each_step_behind_leaves_more_room() -> None:
    window = Window(4, 100)
    window.add(10)
    assert [window.fits(15, behind=behind) for behind in range(4)] == [True, True, True, False]
    window.add(30)
    assert [window.fits(10, behind=behind) for behind in range(4)] == [True, True, False, False]
    window.add(20)
    assert [window.fits(10, behind=behind) for behind in range(4)] == [True, False, False, False]


def test_an_empty_window_takes_anything_and_one_of_one_serves_both() -> None:
    window = Window(1, 100)
    assert window.fits(10**9, behind=1)
    window.add(10)
    assert not window.fits(1, behind=0)
    window.remove(10)
    assert (window.batches, window.size_bytes) == (0, 0)
    assert window.fits(1, behind=1)


def test_a_pace_spreads_bytes_and_saves_nothing_up() -> None:
    pace = RateLimit(100.0)
    assert pace.wait_s(1000) == 0
    pace.spend(1000, 500)
    assert pace.wait_s(1000) == 5
    assert pace.wait_s(1004) == 1
    assert pace.wait_s(2000) == 0
    pace.spend(2000, 100)
    assert pace.wait_s(2000) == 1
    unpaced = RateLimit(None)
    unpaced.spend(0, 10**9)
    assert unpaced.wait_s(0) == 0


def test_third_closed_link_makes_a_batch_wait_and_each_more_longer() -> None:
    closing, key, now = ClosingBatches(), ("s", 1), 0.0
    assert [closing.closed(key, now) for _ in range(2)] == [False, False]
    assert not closing.waits.has(key, now)
    waits = []
    for _ in range(12):
        assert closing.closed(key, now)
        assert closing.waits.has(key, now)
        due = closing.waits.next_at()
        assert due is not None
        waits.append(due - now)
        now = due
        assert not closing.waits.has(key, now)
        assert closing.waits.release(now)
        assert not closing.waits.release(now)
    assert waits[:3] == [CLOSING_FIRST_S, 2 * CLOSING_FIRST_S, 4 * CLOSING_FIRST_S]
    assert waits[-1] == CLOSING_MAX_S
    closing.clear(key)
    assert not closing.closed(key, now)


def test_closing_batches_are_bounded() -> None:
    closing = ClosingBatches()
    for number in range(10 * BATCHES_MAX):
        for _ in range(3):
            closing.closed(("s", number), 0.0)
    assert sum(closing.waits.has(("s", number), 1.0) for number in range(10 * BATCHES_MAX)) == BATCHES_MAX


def test_an_upload_that_arrives_slowly_keeps_a_link_alive_and_a_ping_does_not() -> None:
    dead_link = DeadLinkDetector(published_at=100.0)
    dead_link.update(101, Traffic(1000, 0, 5000))
    dead_link.update(110, Traffic(2000, 0, 4000))
    assert dead_link.unacknowledged_s(110) == 0
    dead_link.update(120, Traffic(6000, 0, 0))
    assert dead_link.unacknowledged_s(120) == 0
    dead_link.update(130, Traffic(6002, 2, 0))
    dead_link.update(150, Traffic(6004, 4, 0))
    assert dead_link.unacknowledged_s(150) == 30


def test_a_ping_waits_for_its_answer_while_nothing_moves() -> None:
    dead_link = DeadLinkDetector()
    dead_link.update(10, Traffic(100, 100, 0))
    assert dead_link.unanswered_s(50, pinged_at=0) == 0
    assert dead_link.unanswered_s(50, pinged_at=40) == 10
    dead_link.update(55, Traffic(100, 5000, 0))
    assert dead_link.unanswered_s(60, pinged_at=40) == 5


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("mqtts://b.example", ("b.example", 8883, True)),
        ("mqtt://b.example", ("b.example", 1883, False)),
        ("mqtts://b.example:443/", ("b.example", 443, True)),
        ("mqtt://[::1]:1884", ("::1", 1884, False)),
    ],
)
def test_a_broker_address_is_taken_apart(url: str, expected: tuple[str, int, bool]) -> None:
    assert parse_broker(url) == expected


@pytest.mark.parametrize(
    "url",
    ["b.example:8883", "http://b", "mqtts://", "mqtts://b:99999", "mqtts://u:p@b", "mqtts://b/path", "mqtt://[::1"],
)
def test_a_broker_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="broker"):
        parse_broker(url)


@pytest.mark.parametrize(
    "url",
    [
        "mqtts://user:s3cret@host:notaport",
        "https://user:s3cret@host",
        "mqtts://user:s3cret@",
        "mqtts://user:s3cret@[::1",
        "mqtts://user:s3cret@host/path",
        "mqtts://host/?password=s3cret",
    ],
)
def test_a_refused_broker_address_tells_no_password(url: str) -> None:
    with pytest.raises(ConfigError, match="broker") as refused:
        parse_broker(url)
    assert "s3cret" not in str(refused.value)


def test_options_name_their_address_and_hide_their_password() -> None:
    assert MqttOptions("::1", 1883).address == "[::1]:1883"
    assert "hidden" not in repr(MqttOptions("b", password="hidden"))


@pytest.mark.parametrize("priority", ["critical", "normal", "bulk"])
def test_a_batch_of_the_limit_fits_the_topic_of_each_priority(priority: str) -> None:
    options, limits = SenderOptions("car-1", batch="canferry/{vehicle}/{class}"), LinkLimits(maximum_packet_bytes=1000)
    held_back = HeldBack(options)
    held_back.begin(limits, options)
    most = limits.payload_bytes(options.batch_topic(f"{priority}-0123456789ab"), NONE)
    assert most is not None
    assert held_back.sizes.named is not None
    assert most - 4 <= held_back.sizes.named <= most
