# SPDX-License-Identifier: Apache-2.0
"""Exports an inventory: the batches of a vehicle, each once, in the corrected order of their frames.

Promise: a file appears whole under its name, or not at all. The summary names everything that was not exported.
Limits: a batch that would become more than `TEXT_BYTES_MAX` as text is left out of text formats, and named.
Failure: a disk that refuses raises `AgentError` with the path; a closed pipe raises `BrokenPipeError`.
"""

from __future__ import annotations

import sys
from collections import deque
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from agent.errors import AgentError, ConfigError
from agent.receiver.atomic_output import atomic_output
from agent.receiver.clock_correction import RESOLUTION_NS
from agent.receiver.gaps import GapAccount, NamedGap
from agent.receiver.windows import windows
from agent.receiver.writers import (
    TEXT_BYTES_MAX,
    TEXT_FORMATS,
    Arrangement,
    binary_writer,
    check_output,
    text_bytes,
    text_writer,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from agent.model import BatchId, Event
    from agent.receiver.inventory import Found, Inventory, Problem
    from agent.receiver.windows import WindowPart
    from agent.receiver.writers import Writer


@dataclass(frozen=True, slots=True)
class Correction:
    """Batches of one boot whose frames were moved to where they belong, for the vehicle's clock was wrong."""

    boot_id: str
    batches: int
    least_ns: int
    most_ns: int

    def __str__(self) -> str:
        by = f"{self.least_ns / 1e9:+.3f} s"
        if self.most_ns - self.least_ns >= RESOLUTION_NS:
            by += f" to {self.most_ns / 1e9:+.3f} s"
        batches = f"{self.batches} batch{'' if self.batches == 1 else 'es'}"
        return f"boot {self.boot_id}: {batches} moved by {by}, to when the clock was known"

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class ExportSummary:
    """What came out of it.

    vehicle      its name; of several all, with commas between
    frames       written
    batches      they come from
    duplicates   batches that were there more than once
    left_out     batches in spools that are acknowledged, and were not asked for
    unknown      frames of ids that no DBC knows: received, counted, not kept
    events       told in batches
    corrections  of a wrong clock, by boot
    reused       batches under an id that another one has, with another content
    """

    vehicle: str
    frames: int
    batches: int
    duplicates: int
    unknown: int
    events: int
    gaps: tuple[NamedGap, ...]
    problems: tuple[Problem, ...]
    corrections: tuple[Correction, ...]
    left_out: int = 0
    reused: int = 0

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "vehicle": self.vehicle,
            "frames": self.frames,
            "batches": self.batches,
            "duplicates_dropped": self.duplicates,
            "acknowledged_left_out": self.left_out,
            "ids_reused": self.reused,
            "frames_unknown": self.unknown,
            "events": self.events,
            "corrections": [correction.as_dict() for correction in self.corrections],
            "gaps": [gap.as_dict() for gap in self.gaps],
            "problems": [{"place": problem.place, "reason": problem.reason} for problem in self.problems],
        }


def export(
    inventory: Inventory,
    name: str,
    out: Path | None,
    *,
    vehicle: str | None = None,
    choices: bool = False,
    arrangement: Arrangement | None = None,
) -> ExportSummary:
    """Write one vehicle's frames in a format, to a file, or to stdout where there is none and the format is text.

    With an arrangement `out` is a folder; where it is partitioned and no vehicle is named, all of them are written.
    """
    arrangement = arrangement or Arrangement()
    check_output(name, out, arrangement)
    if out is None or not arrangement.in_folder:
        vehicle = chosen(inventory, vehicle)
        load = partial(_load_text, inventory) if name in TEXT_FORMATS else inventory.load
        with open_writer(name, out, choices=choices) as writer:
            frames, events = _written(inventory, vehicle, writer, load)
        return _summary(inventory, [vehicle], frames, events)
    several = arrangement.partition and vehicle is None and len(inventory.vehicles()) > 1
    vehicles = inventory.vehicles() if several else [chosen(inventory, vehicle)]
    return _summary(inventory, vehicles, *_folder_written(inventory, vehicles, out, arrangement))


def _folder_written(
    inventory: Inventory, vehicles: Sequence[str], out: Path, arrangement: Arrangement
) -> tuple[int, int]:
    """Frames and events of the vehicles, written one after the other."""
    from agent.receiver.wide import folder_writer

    frames = events = 0
    with atomic_output(out) as folder:
        folder.mkdir()
        for vehicle in vehicles:
            writer = folder_writer(folder, vehicle, wide=arrangement.wide, partition=arrangement.partition)
            counts = _written(inventory, vehicle, writer, inventory.load)
            writer.close()
            frames, events = frames + counts[0], events + counts[1]
    return frames, events


def _load_text(inventory: Inventory, batch_id: BatchId) -> list[WindowPart]:
    """A batch, unless it would become too much text."""
    parts = inventory.load(batch_id)
    if (size := text_bytes(parts)) <= TEXT_BYTES_MAX:
        return parts
    inventory.leave_out(batch_id, f"left out: it would become some {size >> 20} MiB of text; parquet and mf4 take it")
    return []


def _written(
    inventory: Inventory, vehicle: str, writer: Writer, load: Callable[[BatchId], list[WindowPart]]
) -> tuple[int, int]:
    """How many frames and events of a vehicle the writer was given."""
    found = inventory.exportable(vehicle)
    events = deque(sorted((event for each in found for event in each.events), key=lambda event: event.time_ns))
    frames, total = 0, len(events)
    for window in windows([time_range for each in found for time_range in each.time_ranges], load):
        end_ns = max(int(part.time_ns.max()) for part in window)
        writer.write(window, _until(events, end_ns))
        frames += sum(len(part.rows) for part in window)
    if events:
        writer.write([], list(events))
    return frames, total


def _summary(inventory: Inventory, vehicles: Sequence[str], frames: int, events: int) -> ExportSummary:
    everything = [each for each in inventory.batches.values() if each.id.vehicle in vehicles]
    return ExportSummary(
        ", ".join(vehicles),
        frames,
        len(everything),
        inventory.duplicates,
        sum(each.unknown for each in everything),
        events,
        named_gaps(everything),
        tuple(inventory.problems),
        corrections(everything),
        inventory.left_out,
        inventory.reused(vehicles),
    )


def named_gaps(found: list[Found]) -> tuple[NamedGap, ...]:
    """What is missing between and beside some batches."""
    account = GapAccount()
    for each in found:
        account.receive(each.id, each.opened_ns, each.sealed_ns, each.gaps)
    return tuple(account.report())


def corrections(found: list[Found]) -> tuple[Correction, ...]:
    """What was moved, for the clock was wrong, by boot."""
    by_boot: dict[str, list[Found]] = {}
    for each in found:
        if each.least_ns or each.most_ns:
            by_boot.setdefault(each.boot_id, []).append(each)
    return tuple(
        Correction(boot, len(moved), min(each.least_ns for each in moved), max(each.most_ns for each in moved))
        for boot, moved in by_boot.items()
    )


def _until(events: deque[Event], end_ns: int) -> list[Event]:
    """Take the events that are not later than this."""
    due = []
    while events and events[0].time_ns <= end_ns:
        due.append(events.popleft())
    return due


def chosen(inventory: Inventory, vehicle: str | None) -> str:
    """The one vehicle that is asked for, or the only one; raises `ConfigError` where that is not clear."""
    vehicles = inventory.vehicles()
    if not vehicles:
        reasons = "; ".join(map(str, inventory.problems[:3]))
        if inventory.left_out:
            reasons = (
                f"nothing waits; --acknowledged exports the {inventory.left_out} that are sent and not overwritten yet"
            )
        raise AgentError(f"no batch to export: {reasons or 'the paths hold no *.batch.zst and no spool'}")
    if vehicle is None and len(vehicles) > 1:
        raise ConfigError(
            f"the paths hold batches of {len(vehicles)} vehicles: choose one with --vehicle {_some(vehicles)}"
        )
    if vehicle is not None and vehicle not in vehicles:
        raise ConfigError(f"the paths hold no batch of vehicle {vehicle}, but of {_some(vehicles)}")
    return vehicle or vehicles[0]


def _some(vehicles: list[str]) -> str:
    return ", ".join(vehicles[:5]) + (", …" if len(vehicles) > 5 else "")


@contextmanager
def open_writer(name: str, out: Path | None, *, choices: bool) -> Iterator[Writer]:
    """A writer of a format; the file is put in place when the context ends well."""
    if out is None:
        writer: Writer = text_writer(name, sys.stdout.buffer, choices=choices)
        yield writer
        writer.close()
        return
    with atomic_output(out) as fresh:
        if name in TEXT_FORMATS:
            with fresh.open("wb") as file:
                writer = text_writer(name, file, choices=choices)
                yield writer
                writer.close()
        else:
            writer = binary_writer(name, fresh)
            yield writer
            writer.close()
