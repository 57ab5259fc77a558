# SPDX-License-Identifier: Apache-2.0
"""One hash of each thing that a change of the code leaves as it is; run it before and after.

    python tests/benchmarks/baselines.py [PART …] [--each]

    definitions   the definitions and the problems of every DBC file at hand (opendbc's, ../shared/data's and the
                  project's own), as `repr` says them; of a file that is refused, why

Two hashes that differ mean that a definition or a problem does: `--each` prints a hash for each thing that went in,
so that `diff` of two outputs names it. Folders are left out of what is hashed: the same files give the same hash
wherever they lie.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[2]))

from agent.decode.loading import load_databases
from agent.errors import DatabaseError
from tests.support.car_dbc import car_dbc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PROJECT = Path(__file__).parents[2]
DATA = PROJECT.parent / "shared" / "data"


def dbc_files(scratch: Path) -> Iterator[tuple[str, Path]]:
    """A name and the path of every DBC file at hand."""
    for packaged in importlib.metadata.files("opendbc") or ():
        if packaged.name.lower().endswith(".dbc"):
            yield f"opendbc/{packaged.name}", Path(str(packaged.locate()))
    for name, folder in (("data", DATA), ("project", PROJECT / "dbc")):
        for path in folder.rglob("*.dbc"):
            yield f"{name}/{path.relative_to(folder)}", path
    yield "tests/car.dbc", car_dbc(scratch)


def definitions() -> Iterator[tuple[str, str]]:
    """Each DBC file with what it became."""
    with tempfile.TemporaryDirectory() as scratch:
        for name, path in sorted(dbc_files(Path(scratch))):
            try:
                loaded = load_databases([("bus", path)])
            except DatabaseError as error:
                yield name, str(error).replace(str(path), name)
                continue
            yield name, repr((loaded.messages, loaded.problems)).replace(str(path), name)


PARTS: dict[str, Callable[[], Iterator[tuple[str, str]]]] = {"definitions": definitions}


def _short(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:16]


def main() -> None:
    """Print the hashes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="*", help=f"of {', '.join(PARTS)}; all where none is named")
    parser.add_argument("--each", action="store_true", help="a hash of each thing, too")
    args = parser.parse_args()
    for part in args.part or PARTS:
        all_of_it = []
        for name, text in PARTS[part]():
            all_of_it.append(f"{name} {_short(text)}")
            if args.each:
                print(f"  {_short(text)}  {name}")
        print(f"{_short(' '.join(all_of_it))}  {part}: {len(all_of_it)} things")


if __name__ == "__main__":
    main()
