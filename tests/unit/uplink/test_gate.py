# SPDX-License-Identifier: Apache-2.0
"""Which packets a broker may send; numbers and flags as MQTT 5.0, 2.1.2 and 3.3.1, has them."""

from __future__ import annotations

import pytest

from agent.receiver.batch_receiver import PAYLOAD_MAX
from agent.uplink.incoming import ANSWER_BYTES_MAX, LEAST_BYTES, MESSAGE_BYTES_MAX, UNASKED_BYTES_MAX, Gate

CONNACK, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK = 0x20, 0x40, 0x50, 0x62, 0x70, 0x90, 0xB0
PINGREQ, PINGRESP, DISCONNECT, AUTH, CONNECT, SUBSCRIBE = 0xC0, 0xD0, 0xE0, 0xF0, 0x10, 0x82
QOS_0, QOS_1, QOS_2, QOS_3 = 0x30, 0x32, 0x34, 0x36


def greeted(*, subscribed: bool = False, five: bool = True) -> Gate:
    gate = Gate(subscribed, five)
    assert gate.refusal(CONNACK, 3) == ""
    return gate


@pytest.mark.parametrize("subscribed", [True, False])
@pytest.mark.parametrize("five", [True, False])
def test_packets_pass_or_not_as_the_table_says(subscribed: bool, five: bool) -> None:
    allowed = {PUBACK, PINGRESP, QOS_0, QOS_1}
    allowed |= {SUBACK} if subscribed else set()
    allowed |= {DISCONNECT} if five else set()
    passed = {head for head in range(256) if not greeted(subscribed=subscribed, five=five).refusal(head, 10)}
    assert {head & 0xF0 if head >> 4 != 3 else head & 0xF6 for head in passed} == allowed


@pytest.mark.parametrize("head", [PUBREC, PUBREL, PUBCOMP, UNSUBACK, PINGREQ, AUTH, CONNECT, SUBSCRIBE, QOS_2, QOS_3])
def test_what_belongs_to_another_conversation_is_refused_in_words(head: int) -> None:
    assert "asked for" in (told := greeted(subscribed=True).refusal(head, 10)) or "asks for" in told


def test_a_connack_comes_first_and_once() -> None:
    assert Gate(False, True).refusal(PUBACK, 2) == "the broker did not begin with its CONNACK"
    assert greeted().refusal(CONNACK, 3) == "the broker has sent a second CONNACK"


@pytest.mark.parametrize(("size", "counted"), [(60_000, 60_000), (7, LEAST_BYTES)])
def test_unasked_messages_pass_up_to_a_limit_however_small(size: int, counted: int) -> None:
    gate = greeted()
    allowed = UNASKED_BYTES_MAX // counted
    assert {gate.refusal(QOS_1, size) for _ in range(allowed)} == {""}
    assert "though nobody has subscribed" in gate.refusal(QOS_1, size)


@pytest.mark.parametrize("head", [PUBACK, SUBACK, QOS_0, QOS_1])
def test_only_a_subscriber_takes_long_messages_and_cuts_longer_ones(head: int) -> None:
    subscriber, is_publish = greeted(subscribed=True, five=False), head in (QOS_0, QOS_1)
    assert greeted().is_too_long(head, ANSWER_BYTES_MAX + 1)
    assert subscriber.is_too_long(head, ANSWER_BYTES_MAX + 1) is not is_publish
    assert not subscriber.is_cut(head, MESSAGE_BYTES_MAX)
    assert subscriber.is_cut(head, MESSAGE_BYTES_MAX + 1) is is_publish


def test_receipt_of_a_trial_passes_once() -> None:
    gate = greeted()
    gate.awaits_receipt = True
    assert gate.refusal(PUBREC, 4) == ""
    assert "PUBREC" in gate.refusal(PUBREC, 4)


def test_no_message_that_the_receiver_would_take_is_cut() -> None:
    assert MESSAGE_BYTES_MAX >= PAYLOAD_MAX + (64 << 10), "payload and topic"
