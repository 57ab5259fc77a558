# SPDX-License-Identifier: Apache-2.0
"""What a message says of itself beside its payload, for whoever routes it without opening it. Pure.

With `cloud_events` each message is a CloudEvent 1.0 in MQTT's binary mode (CloudEvents, MQTT Protocol Binding 1.0.2,
3.1): the media type is the Content Type, every other attribute a User Property.

    specversion   1.0
    id            <stream>/<sequence> of a batch, the content hash of a catalog: the same whenever it is sent again
    source        urn:canferry:<vehicle>
    type          canferry.batch, canferry.catalog, canferry.status

Limits: MQTT 3.1.1 has no room for it. A status has no id of its own: it is numbered by the time it was made.
"""

from __future__ import annotations

from dataclasses import dataclass

MEDIA_TYPES = {
    "batch": "application/vnd.canferry.batch+zstd",
    "catalog": "application/vnd.canferry.catalog+zstd",
    "status": "application/json",
}


@dataclass(frozen=True, slots=True)
class MessageProperties:
    """Content Type and User Properties of a PUBLISH (MQTT 5.0, 3.3.2.3); falsy where there are none."""

    content_type: str = ""
    properties: tuple[tuple[str, str], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.content_type or self.properties)

    @property
    def size_bytes(self) -> int:
        """What they take on the wire."""
        own = 3 + len(self.content_type.encode()) if self.content_type else 0
        return own + sum(5 + len(name.encode()) + len(value.encode()) for name, value in self.properties)


NONE = MessageProperties()


def cloud_event(kind: str, vehicle: str, name: str) -> MessageProperties:
    """Those of a CloudEvent: `kind` is "batch", "catalog" or "status", `name` its id."""
    properties = (
        ("specversion", "1.0"),
        ("id", name),
        ("source", f"urn:canferry:{vehicle}"),
        ("type", f"canferry.{kind}"),
    )
    return MessageProperties(MEDIA_TYPES[kind], properties)
