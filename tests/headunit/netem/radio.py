# SPDX-License-Identifier: Apache-2.0
"""A bad cellular link by netem, between this network namespace and one that is the cloud.

    with Radio() as radio:
        radio.degrade("delay 100ms loss 2% rate 1mbit")   # each way
        …                                                 # a broker `radio.within`, reached at RADIO over the link
        radio.degrade("loss 100%")                        # nothing gets through any more, and nobody is told

Beside the link lies a wire, by which a receiver and the tests reach the same broker at `WIRE`.
Segments go one by one: netem would lose and delay the large ones as a whole that TCP hands down for the card to cut.
"""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

CLOUD = "cloud"
RADIO, WIRE = "10.9.0.2", "10.9.1.2"
_LINKS = {"radio": "10.9.0", "wire": "10.9.1"}


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


class Radio:
    """Two pairs of veth; `within` is what runs a command in the cloud."""

    within = ("ip", "netns", "exec", CLOUD)

    def __enter__(self) -> Self:
        _run("ip", "netns", "add", CLOUD)
        for name, net in _LINKS.items():
            _run("ip", "link", "add", f"{name}0", "type", "veth", "peer", "name", f"{name}1", "netns", CLOUD)
            for where, device, address in (((), f"{name}0", f"{net}.1/30"), (self.within, f"{name}1", f"{net}.2/30")):
                _run(*where, "ip", "address", "add", address, "dev", device)
                _run(*where, "ip", "link", "set", device, "gso_max_segs", "1", "up")
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        for name in _LINKS:  # what a namespace takes with it, the kernel lets go of later
            _run("ip", "link", "delete", f"{name}0")
        _run("ip", "netns", "delete", CLOUD)

    def degrade(self, netem: str) -> None:
        """What the link does from now on, each way; the queue holds two seconds of 1 Mbit/s."""
        for where, device in (((), "radio0"), (self.within, "radio1")):
            _run(*where, "tc", "qdisc", "replace", "dev", device, "root", "netem", "limit", "170", *netem.split())

    def sent_bytes(self) -> int:
        """What this end has sent over the link: frames, with all of their headers, those that were lost among them."""
        told = re.search(r"Sent (\d+) bytes", _run("tc", "-s", "qdisc", "show", "dev", "radio0"))
        assert told is not None
        return int(told[1])
