# SPDX-License-Identifier: Apache-2.0
"""The other end of the link: a broker and `canferry receive`, in a network namespace of this host.

    head unit ── eth0 ══ tap ── mosquitto ── canferry receive ── OUT
    10.74.0.2                   10.74.0.1

The car may lose power at any moment and the cloud does not: what is behind the link outlives every machine that is
plugged into it, and what has been received lies in a folder that the tests read.

Limits: needs /dev/net/tun. What the broker has taken and not passed on when it is killed would be its own loss:
it is only ever stopped in good order, and keeps its queues.
Failure: `missing()` tells what the host lacks; a process that ends by itself is a `CloudError` with its log.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tests.headunit.machine import Tap
from tests.support.mosquitto import executable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ADDRESS = "10.74.0.1"
UNIT_ADDRESS = "10.74.0.2/24"
URL = f"mqtt://{ADDRESS}:1883"
PROJECT = Path(__file__).parents[3]
START_S = 120.0
_TAP = "uplink"
_NAMESPACE = f"""\
set -e
ip link set lo up
ip tuntap add {_TAP} mode tap
ip address add {ADDRESS}/24 dev {_TAP}
ip link set {_TAP} up
echo made
exec cat
"""
_BROKER = """\
listener 1883 {address}
allow_anonymous true
user root
log_type all
max_queued_messages 0
persistence true
persistence_location {folder}/
"""


class CloudError(Exception):
    """Something of the cloud does not run: says what, with its log."""


def missing() -> str | None:
    """What the host lacks for a link to the machine, in one sentence; None: nothing."""
    attempt = ["unshare", "--net", "ip", "tuntap", "add", _TAP, "mode", "tap"]
    done = subprocess.run(attempt, capture_output=True, text=True)
    return f"no network interface for the machine: {done.stderr.strip()}" if done.returncode else None


class Cloud:
    """Broker and receiver. `out` is the receiver's folder; the namespace lasts as long as the `with`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.out = folder / "received"
        self.summary: dict[str, Any] = {}
        self._broker: subprocess.Popen[bytes] | None = None
        self._receiver: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._holder = subprocess.Popen(
            ["unshare", "--net", "sh", "-c", _NAMESPACE], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != b"made\n":
            raise CloudError(missing() or "the network namespace cannot be made")
        self.start_broker()
        self.start_receiver()
        return self

    def __exit__(self, *_: object) -> None:
        for process in (self._receiver, self._broker, self._holder):
            if process is not None:
                with process:  # closes its pipes
                    process.kill()

    @property
    def tap(self) -> Tap:
        """What a machine is plugged into, one at a time."""
        return Tap(f"/proc/{self._holder.pid}/ns/net", _TAP)

    def start_broker(self) -> None:
        """It listens on return."""
        (self.folder / "mosquitto.conf").write_text(_BROKER.format(address=ADDRESS, folder=self.folder))
        self._broker = self._spawn([executable(), "-c", str(self.folder / "mosquitto.conf")], "broker.log")
        probe = [*self._within(), "bash", "-c", f": </dev/tcp/{ADDRESS}/1883"]
        _await(
            lambda: subprocess.run(probe, capture_output=True).returncode == 0, self._broker, self._log("broker.log")
        )

    def stop_broker(self) -> None:
        """In good order: what it has not passed on yet it keeps."""
        _end(self._broker, self._log("broker.log"))

    def start_receiver(self) -> None:
        """It has subscribed on return."""
        subscribed = self._subscriptions()
        arguments = ["-m", "agent", "receive", "--broker", URL, "--out", str(self.out), "--json"]
        self._receiver = self._spawn([sys.executable, *arguments], "receiver.log", self.folder / "summary.json")
        _await(lambda: self._subscriptions() > subscribed, self._receiver, self._log("receiver.log"))

    def stop_receiver(self) -> None:
        """In good order; its `summary` is there on return."""
        _end(self._receiver, self._log("receiver.log"))
        self.summary = json.loads((self.folder / "summary.json").read_text())

    def _subscriptions(self) -> int:
        return self._log("broker.log").read_text(errors="replace").count("Sending SUBACK")

    def _log(self, name: str) -> Path:
        return self.folder / name

    def _within(self) -> list[str]:
        return ["nsenter", f"--net={self.tap.namespace}"]

    def _spawn(self, command: Sequence[str], log: str, out: Path | None = None) -> subprocess.Popen[bytes]:
        with self._log(log).open("ab") as err, (out or Path(os.devnull)).open("wb") as stdout:
            within = [*self._within(), *command]
            return subprocess.Popen(within, cwd=PROJECT, stdin=subprocess.DEVNULL, stdout=stdout, stderr=err)


def _await(condition: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            raise CloudError(f"does not start: {log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.02)


def _end(process: subprocess.Popen[bytes] | None, log: Path) -> None:
    assert process is not None
    process.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        if process.wait(START_S) == 0:
            return
    raise CloudError(f"does not end in good order: {log.read_text(errors='replace')[-2000:]}")
