# SPDX-License-Identifier: Apache-2.0
"""The data plan as the uplink meets it: asked before each batch, told of each one that goes, and kept on disk.

What is spent is estimated from what the uplink publishes (`budget.on_wire_bytes`). Where the configuration names the
network interface, its own count of bytes replaces the estimate every `LOOK_S`: that is all that was really sent and
received through it, by whomever. The count begins anew when the interface does, or the unit is started.

Promise: the ledger is written `SAVE_S` after something was spent at the latest, or when `SAVE_BYTES` were, and at the
end: a power cut forgets no more. Where it cannot be written, it is tried again, and sending goes on.

Failure: a ledger that is damaged is told, and the month's even share until now is presumed to be spent; an interface
that is not there is estimated for.

    5f2c81d0 {"spent": {"at_ns": …, "month": 20758, …}, "counter": 123456, "boot_id": "…"}
    └─ CRC-32 of what follows the blank, in hexadecimal

Writing the ledger leaves the old content or the new, whenever the power goes.
"""

from __future__ import annotations

import asyncio
import zlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import structlog

from agent.system.durable import write_durably
from agent.uplink.cellular import budget
from agent.uplink.cellular.budget import Spent  # noqa: TC001  (msgspec reads the annotations)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from agent.system.clock import Clock
    from agent.uplink.cellular.budget import Plan


log = structlog.get_logger()

LOOK_S = 5.0
SAVE_S = 60.0
SAVE_BYTES = 1 << 20
INTERFACES = Path("/sys/class/net")


class DataPlan:
    """One plan; `load` it before it is asked.

    Args:
        plan: what may be spent.
        path: the ledger's.
        topic_bytes: of the topic that batches are published to.
        clock: tells the month and the day.
        roaming: whether the unit is abroad now.
        interface: the network interface that counts; "": the uplink's publishes are counted.

    """

    def __init__(
        self,
        plan: Plan,
        path: Path,
        topic_bytes: int,
        clock: Clock,
        *,
        roaming: Callable[[], bool] = lambda: False,
        interface: str = "",
        interfaces: Path = INTERFACES,
    ) -> None:
        self._plan = plan
        self._path = path
        self._topic_bytes = topic_bytes
        self._clock = clock
        self._roaming = roaming
        self._statistics = interfaces / interface / "statistics" if interface else None
        self._spent = budget.nothing_spent(plan, clock.wall_ns())
        self._counter, self._boot_id = -1, ""
        self._estimated = 0  # since the interface was looked at
        self._saved = Entry(self._spent)
        self._saved_ns = clock.monotonic_ns()
        self._failed = False

    def load(self) -> None:
        """What was spent before; reads the disk."""
        try:
            entry = read_ledger(self._path)
        except (LedgerError, OSError) as error:
            hint = "the month's even share until now is presumed to be spent; look at the disk if it comes again"
            log.warning("data_plan_unreadable", path=str(self._path), reason=str(error), hint=hint)
            entry = Entry(budget.presumed_spent(self._plan, self._clock.wall_ns()))
        if entry is not None:
            self._saved = entry
            self._spent, self._counter, self._boot_id = entry.spent, entry.counter, entry.boot_id
        self._look()

    def wait_s(self, *, critical: bool) -> float:
        """Seconds after which to ask again; 0: a batch may go now."""
        self._spent = budget.turned(self._plan, self._spent, self._clock.wall_ns())
        return budget.wait_s(self._plan, self._spent, critical=critical, roaming=self._roaming())

    def spend(self, payload_bytes: int, *, critical: bool) -> None:
        """A publish goes."""
        size = budget.on_wire_bytes(payload_bytes, self._topic_bytes)
        self._estimated += size
        self._add(size, critical=critical)

    async def run(self, call: Callable[[Callable[[], None]], Awaitable[None]]) -> None:
        """Look at the interface and keep the ledger until cancelled; `call` runs a function where the disk is owned."""
        try:
            while True:
                await asyncio.sleep(LOOK_S)
                self._look()
                if self._is_due():
                    await call(self.save)
        finally:
            self._look()
            await call(self.save)

    def save(self) -> None:
        """Write the ledger, where it has changed."""
        entry = Entry(self._spent, self._counter, self._boot_id)
        self._saved_ns = self._clock.monotonic_ns()
        unchanged = Entry(replace(self._saved.spent, at_ns=self._spent.at_ns), self._saved.counter, self._saved.boot_id)
        if entry == unchanged:  # the time alone is not worth a write
            return
        try:
            write_ledger(self._path, entry)
        except OSError as error:
            if not self._failed:
                hint = "what is spent is counted from the last one that was written; room and rights of spool.path"
                log.warning("data_plan_not_kept", path=str(self._path), reason=str(error), hint=hint)
            self._failed = True
        else:
            self._saved, self._failed = entry, False

    def __str__(self) -> str:
        """For a person: data plan 12.0MiB of 200.0MiB, lasts."""
        return budget.forecast(self._plan, self._spent)

    def _add(self, size: int, *, critical: bool) -> None:
        self._spent = budget.turned(self._plan, self._spent, self._clock.wall_ns())
        self._spent = budget.add(self._spent, size, critical=critical, roaming=self._roaming())

    def _is_due(self) -> bool:
        if self._spent.month_bytes - self._saved.spent.month_bytes >= SAVE_BYTES:
            return True
        return self._clock.monotonic_ns() - self._saved_ns >= SAVE_S * 1e9

    def _look(self) -> None:
        """Replace the estimate by what the interface has counted."""
        counter = self._count()
        if counter is None:
            return
        boot_id = self._clock.boot_id()
        begun_anew = boot_id != self._boot_id or counter < self._counter
        more = 0 if self._counter < 0 else counter if begun_anew else counter - self._counter
        if self._counter >= 0:
            self._add(more - self._estimated, critical=False)
        self._estimated = 0
        self._counter, self._boot_id = counter, boot_id

    def _count(self) -> int | None:
        """Received and sent; None where no interface is named, or it is not there."""
        if self._statistics is None:
            return None
        try:
            return sum(int((self._statistics / name).read_text()) for name in ("rx_bytes", "tx_bytes"))
        except (OSError, ValueError):
            return None


_BYTES_MAX = 4096


class LedgerError(ValueError):
    """The file's content is not sound."""


class Entry(msgspec.Struct, frozen=True):
    """What is kept.

    counter   the interface's, received and sent, when it was read last; -1: never
    boot_id   the boot that it counts from
    """

    spent: Spent
    counter: int = -1
    boot_id: str = ""


def read_ledger(path: Path) -> Entry | None:
    """What was written last; None where nothing was. Raises LedgerError, OSError."""
    try:
        with path.open("rb") as file:
            content = file.read(_BYTES_MAX)
    except FileNotFoundError:
        return None
    checksum, _, body = content.rstrip(b"\n").partition(b" ")
    if checksum != _checksum(body):
        raise LedgerError("its checksum does not hold")
    try:
        return msgspec.json.decode(body, type=Entry)
    except msgspec.DecodeError as error:
        raise LedgerError(str(error)) from error


def write_ledger(path: Path, entry: Entry) -> None:
    """Put it in the place of what was there, for good."""
    body = msgspec.json.encode(entry)
    write_durably(path, _checksum(body) + b" " + body + b"\n")


def _checksum(body: bytes) -> bytes:
    return b"%08x" % zlib.crc32(body)
