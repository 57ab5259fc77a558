# SPDX-License-Identifier: Apache-2.0
"""Topic names made from templates: `canferry/{vehicle}/batch`; and the numbers that stand for them on a connection.

Placeholders: {vehicle}, {stream}, {sequence}, {hash}. A template and whatever is put into it are checked against
MQTT 5.0, 4.7: no wildcard, no NUL, 1 to 65,535 bytes of UTF-8; and a value is no more than one level of the topic.

Failure: ConfigError, which quotes the template or the value and says what is accepted.
"""

from __future__ import annotations

import re
import string
from dataclasses import dataclass

from agent.errors import ConfigError

PLACEHOLDERS = ("vehicle", "stream", "sequence", "hash")
_TOPIC_BYTES = 65_535
_WILD = re.compile("[+#\0]")


class Aliases:
    """Numbers that stand for topics on one connection, `maximum` of them (MQTT 5.0, 3.3.2.3.4)."""

    def __init__(self, maximum: int = 0) -> None:
        self._maximum = maximum
        self._numbers: dict[str, int] = {}

    def shorten(self, topic: str) -> tuple[str, int | None]:
        """The topic with its alias at first use, the alias alone afterwards; no alias where there are too many."""
        known = topic in self._numbers
        if not known and len(self._numbers) >= self._maximum:
            return topic, None
        return "" if known else topic, self._numbers.setdefault(topic, len(self._numbers) + 1)


@dataclass(frozen=True, slots=True)
class TopicTemplate:
    """A checked template."""

    text: str

    def __post_init__(self) -> None:
        try:
            parts = list(string.Formatter().parse(self.text))
        except ValueError as error:
            raise ConfigError(f"topic {self.text!r}: {error}") from None
        for _, name, form, conversion in parts:
            if name is not None and (name not in PLACEHOLDERS or form or conversion):
                known = ", ".join(f"{{{known}}}" for known in PLACEHOLDERS)
                raise ConfigError(f"topic {self.text!r}: {{{name}}} is not one of {known}")
        check_topic("".join(literal for literal, *_ in parts) or "-", f"topic {self.text!r}")

    def expand(self, *, vehicle: str, stream: str = "", sequence: int = 0, catalog: str = "") -> str:
        """The topic of one batch, catalog or status."""
        topic = self.text.format(vehicle=vehicle, stream=stream, sequence=sequence, hash=catalog)
        return check_topic(topic, f"topic {self.text!r}")

    def filter(self) -> str:
        """Matches this topic of every vehicle; a level with a placeholder becomes `+`."""
        return "/".join("+" if "{" in level else level for level in self.text.split("/"))

    def values(self, topic: str) -> dict[str, str] | None:
        """What the placeholders stand for in `topic`; None where it does not match."""
        pattern, seen = "", set()
        for literal, name, _, _ in string.Formatter().parse(self.text):
            pattern += re.escape(literal)
            if name is not None:
                pattern += f"(?P={name})" if name in seen else f"(?P<{name}>[^/]*)"
                seen.add(name)
        match = re.fullmatch(pattern, topic)
        return None if match is None else match.groupdict()


def check_topic(topic: str, what: str) -> str:
    """The topic, if it may be published to; raises ConfigError."""
    wild = _WILD.search(topic)
    if wild is not None:
        raise ConfigError(f"{what}: {wild.group()!r} may not stand in a topic that is published to")
    if not 1 <= len(topic.encode("utf-8", "surrogatepass")) <= _TOPIC_BYTES:
        raise ConfigError(f"{what}: a topic has 1 to {_TOPIC_BYTES} bytes")
    return topic


def check_vehicle(vehicle: str) -> str:
    """The vehicle id, if it can be one level of a topic; raises ConfigError."""
    if not vehicle or "/" in vehicle or _WILD.search(vehicle):
        raise ConfigError(f"vehicle id {vehicle!r}: accepted is any text without /, +, # and NUL")
    return vehicle
