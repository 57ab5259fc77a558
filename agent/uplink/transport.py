# SPDX-License-Identifier: Apache-2.0
"""What the sender needs of a link, and what the broker's reason codes mean to it.

A `Transport` opens links; a `Link` is one connection from its CONNACK to its end, never reused. A publish
completes at the acknowledgement, or when the link is lost, and always says which: an unsuccessful
acknowledgement is never success, an unknown code keeps the batch. 0x10 is a success to MQTT, for the broker has done
all that it had to; to a sender who deletes what is acknowledged it is a loss. Where a broker answers so and hands the
message to rules of its own all the same (EMQX does), the link takes it for one (`MqttOptions.no_subscribers`), and so
it does of a retained message, which the broker keeps for whoever comes.

Codes (MQTT 5.0, 2.4; MQTT 3.1.1 has none but those of CONNACK):

    code                           in PUBACK      in DISCONNECT   in CONNACK
    0x00                           accepted       -               -
    0x10 no matching subscribers   no subscribers -               -
    0x87 not authorized            unauthorized   unauthorized    unauthorized (with 0x85, 0x86, 0x8A, 0x8C)
    0x90, 0x95, 0x99               unacceptable   unacceptable    -
    0x89, 0x93, 0x96, 0x97, 0x9F   busy           busy            busy (with 0x88)
    0x8E session taken over        -              taken over      -
    any other                      busy           dropped         unreachable

In 3.1.1 a PUBACK cannot refuse: mosquitto acknowledges there what its rules forbid or its limits exclude, and drops
it. Nobody can see that from here; MQTT 5 is worth having wherever the broker speaks it, and is never given up for a
connection that failed (`mqtt_transport`).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from agent.errors import UplinkError
from agent.uplink.properties import NONE

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from agent.uplink.properties import MessageProperties

SILENT_REFUSALS = (
    "in MQTT 3.1.1 a broker acknowledges what its access rules forbid, and what nobody subscribes to, like all else, "
    "and what is acknowledged is deleted"
)
"""What nobody can see where 3.1.1 is spoken."""
PUBLISH_OVERHEAD = 1 + 4 + 2 + 2 + 4
"""Bytes of a PUBLISH beside topic, payload and message properties: type, length, topic's length, packet id, alias."""
RECEIVE_MAXIMUM = 65_535
"""MQTT 5.0, 3.2.2.3.3: the Receive Maximum of a broker that names none."""


TOO_LARGE, TOPIC_INVALID = 0x95, 0x90
"""Of the codes that say that a batch is unacceptable, those that do not mean its payload."""


class Outcome(enum.Enum):
    """What became of one publish."""

    ACCEPTED = "accepted"  # delete the batch
    BUSY = "busy"  # keep it, back off
    UNAUTHORIZED = "unauthorized"  # keep it, pause, tell the engineer
    NO_SUBSCRIBERS = "no subscribers"  # the broker has thrown it away: keep it, ask again slowly, tell the engineer
    UNACCEPTABLE = "unacceptable"  # this broker will never take it, it says: see `held_back`
    LOST = "lost"  # nobody knows: keep it, send it again on the next link


@dataclass(frozen=True, slots=True)
class Answer:
    """The end of one publish: its outcome, the reason code (-1 where none came) and a text for a person."""

    outcome: Outcome
    code: int = -1
    reason: str = ""


class Trouble(enum.Enum):
    """Why there is no link, as far as it changes when to try again."""

    UNREACHABLE = "unreachable"  # the network: name, route, TCP, TLS, silence
    DROPPED = "dropped"  # it was up and ended
    BUSY = "busy"  # the broker asks for patience
    UNAUTHORIZED = "unauthorized"  # credentials or permissions: a person must act
    TAKEN_OVER = "taken over"  # another client uses our client id
    NO_SUBSCRIBERS = "no subscribers"  # the link is up, and nobody gets what is sent: a person must act
    UNACCEPTABLE = "unacceptable"  # the broker ended the link over what we sent
    CLOSED = "closed"  # we ended it


@dataclass(frozen=True, slots=True)
class LinkLoss:
    """Why a link ended.

    by_peer   the other end closed it, as opposed to silence or a failing network
    """

    trouble: Trouble
    reason: str
    code: int = -1
    by_peer: bool = False


@dataclass(frozen=True, slots=True)
class Received:
    """One message that has come in, for whoever subscribes.

    retain         the broker had kept it: it is not fresh
    acknowledge    to be called once the message is safe; where its link has ended, it comes again
    omitted_bytes  at its end, that were not kept: it is too long
    """

    topic: str
    payload: bytes
    retain: bool
    acknowledge: Callable[[], None]
    omitted_bytes: int = 0


class RefusedError(UplinkError):
    """No link came up; `trouble` decides how long to wait, the text says what to do.

    code     of the CONNACK, -1 where none came
    silent   the other end closed without a word
    """

    silent = False

    def __init__(self, message: str, trouble: Trouble, code: int = -1) -> None:
        super().__init__(message)
        self.trouble = trouble
        self.code = code


class VersionRefusedError(RefusedError):
    """The broker does not speak this MQTT version."""


class ClosedEarlyError(VersionRefusedError):
    """The other end closed before CONNACK, as some brokers do that do not speak the version, and broken networks."""

    silent = True


def packet_bytes(payload_bytes: int, topic: str, properties: MessageProperties) -> int:
    """A whole PUBLISH, at most."""
    return payload_bytes + len(topic.encode()) + properties.size_bytes + PUBLISH_OVERHEAD


@dataclass(frozen=True, slots=True)
class LinkLimits:
    """What the broker allows on this link.

    receive_maximum       publishes that may wait for their acknowledgement at once
    maximum_packet_bytes  whole MQTT packets, None where the broker names no limit
    retain                retained messages are kept
    """

    receive_maximum: int = RECEIVE_MAXIMUM
    maximum_packet_bytes: int | None = None
    retain: bool = True

    def payload_bytes(self, topic: str, properties: MessageProperties) -> int | None:
        """The largest payload that fits a packet with this topic and these properties; None: any."""
        if self.maximum_packet_bytes is None:
            return None
        return max(0, self.maximum_packet_bytes - packet_bytes(0, topic, properties))


class Link(Protocol):
    """One connection, up from the moment one has it until `lost` returns."""

    @property
    def limits(self) -> LinkLimits:
        """What the broker said when the link came up."""

    @property
    def version(self) -> str:
        """The MQTT version that is spoken."""

    async def publish(
        self, topic: str, payload: bytes, *, retain: bool = False, properties: MessageProperties = NONE
    ) -> Answer:
        """Send at least once; return at the acknowledgement or at the link's loss; raise for neither."""

    async def lost(self) -> LinkLoss:
        """Wait for the link's end."""


class Transport(Protocol):
    """Opens links to one broker."""

    @property
    def address(self) -> str:
        """Names the broker: host:port."""

    def has_route(self) -> bool:
        """Whether this unit has a way to it at all; asks nobody."""

    def connect(self) -> AbstractAsyncContextManager[Link]:
        """Open one link; raises RefusedError where none comes up; ends the link in good order on leaving."""


_ACCEPTED, _NO_SUBSCRIBERS = 0x00, 0x10
_UNACCEPTABLE = frozenset({0x90, 0x95, 0x99})
_BUSY = frozenset({0x88, 0x89, 0x93, 0x96, 0x97, 0x9F})
_UNAUTHORIZED = frozenset({0x85, 0x86, 0x87, 0x8A, 0x8C})


def outcome_of_acknowledgement(code: int) -> Outcome:
    """What a PUBACK's reason code means for the batch."""
    if code == _ACCEPTED:
        return Outcome.ACCEPTED
    if code == _NO_SUBSCRIBERS:
        return Outcome.NO_SUBSCRIBERS
    if code == 0x87:
        return Outcome.UNAUTHORIZED
    if code in _UNACCEPTABLE:
        return Outcome.UNACCEPTABLE
    return Outcome.BUSY


def trouble_of_disconnect(code: int) -> Trouble:
    """What the reason code of the broker's DISCONNECT means for the next try."""
    if code == 0x8E:
        return Trouble.TAKEN_OVER
    if code == 0x87:
        return Trouble.UNAUTHORIZED
    if code in _UNACCEPTABLE:
        return Trouble.UNACCEPTABLE
    return Trouble.BUSY if code in _BUSY else Trouble.DROPPED


def trouble_of_refusal(code: int) -> Trouble:
    """What a CONNACK's failure code means for the next try."""
    if code in _UNAUTHORIZED:
        return Trouble.UNAUTHORIZED
    return Trouble.BUSY if code in _BUSY else Trouble.UNREACHABLE
