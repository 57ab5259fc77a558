# SPDX-License-Identifier: Apache-2.0
"""A recorded log to batches, as an agent with these DBC files and no rules would have sent them.

Promise: nothing stays behind; the folder is gone when the context ends. Nothing in it is synced: a log of twenty
thousand batches would wait for the disk for minutes.
"""

from __future__ import annotations

import re
import tempfile
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from agent.batch.catalog import decode_catalog
from agent.config import config_from_arguments, parse_dbc_arguments
from agent.daemon.replay import replay_into
from agent.decode.groups import GroupWatch
from agent.decode.loading import load_buses
from agent.receiver.folder import FolderStore
from agent.receiver.layout import BATCH_SUFFIX, CATALOG_SUFFIX, FOLDER
from agent.sources.logs.channels import missing
from agent.sources.replay import log_channels, read_log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from agent.config.priorities import Priority
    from agent.model import FrameBlock
    from agent.sources.replay import LogReader


ADVICE = "--j1939"


@contextmanager
def recorded(
    log: Path,
    dbc: Sequence[str],
    buses: Sequence[str] | None,
    vehicle: str | None,
    watched: Callable[[LogReader], Iterator[FrameBlock]] = iter,
    *,
    j1939: bool | None = None,
    on_hint: Callable[[str], None] | None = None,
) -> Iterator[Path]:
    """A folder of the log's batches and their catalog.

    Args:
        log: any that `replay` reads.
        dbc: ``[BUS=]FILE`` each.
        buses: those of the log that count; None: all.
        vehicle: the batches' vehicle; None: the log's file name, up to its first dot.
        watched: is given the log's blocks, and gives them on.
        j1939: match 29-bit identifiers by PGN; None: as each DBC file says of itself.
        on_hint: gets what would decode more of the log, where something would.

    """
    vehicle = vehicle or re.sub(r"[^A-Za-z0-9_:-]", "-", log.name.partition(".")[0])[:64] or "log"
    found = log_channels(log)
    missing(log, found, parse_dbc_arguments(dbc), "--dbc")
    channels = [name for name in found if buses is None or name in buses]
    config = config_from_arguments(log, dbc, buses=channels, vehicle=vehicle, j1939=j1939)
    indexes = {bus.name: index for index, bus in enumerate(config.buses)}
    with tempfile.TemporaryDirectory(prefix="canferry-report-") as folder:
        with read_log(log, buses=indexes) as blocks:
            watch = GroupWatch([bus.name for bus in config.buses])
            packer = replay_into(config, watch.passing(watched(blocks)), Path(folder), opens=_scratch_stores)
        hint = watch.hint(load_buses(config.buses).messages, ADVICE) if packer.counters.frames_unknown else ""
        if on_hint and hint:
            on_hint(hint)
        yield Path(folder)


def _scratch_stores(
    folder: Path, _vehicle: str, catalog: bytes, priorities: Iterable[Priority]
) -> Mapping[Priority, FolderStore]:
    """A store for each priority, whose files are read once and deleted; the catalog is stored."""
    name = decode_catalog(catalog).hash
    (folder / FOLDER).mkdir()
    (folder / FOLDER / f"{name}{CATALOG_SUFFIX}").write_bytes(catalog)
    return {priority: FolderStore(str(priority), partial(_write, folder, priority)) for priority in priorities}


def _write(folder: Path, priority: Priority, sequence: int, payload: bytes) -> None:
    (folder / f"{priority}-{sequence}{BATCH_SUFFIX}").write_bytes(payload)
