# SPDX-License-Identifier: Apache-2.0
"""DBC files loaded in a child process, so that what loading needs is gone when it is done.

Importing cantools imports python-can, and that imports asammdf and pandas where they are installed; none of it is
given back. Measured with a DBC file of 807 KB: the child leaves the agent 2.5 MB larger, definitions included; loading
in process leaves it 18 MB larger, or 115 MB with asammdf installed. In the child asammdf is kept out: nothing there
needs it.

The request goes to the child's standard input, the answer comes from its standard output, both pickled by this module.
The child starts isolated, and imports from the same places as its parent: never from the folder that it happens to be
started in, which may hold an ``agent.py`` or a ``numpy.py``. A child that fails, or takes longer than
`TIMEOUT_S`, is a `DatabaseError`.
"""

from __future__ import annotations

import contextlib
import gc
import pickle
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, cast

from agent.errors import DatabaseError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from agent.decode.loading import J1939
    from agent.decode.report import LoadedDatabases

TIMEOUT_S = 300.0
_CHILD = "import sys; sys.path[:] = sys.argv[1:]; from agent.decode.isolation import serve; serve()"
_ROOT = str(Path(__file__).parents[2])
"""Where this very package is imported from."""


def load_in_child(files: Sequence[tuple[str, str]], settings: Mapping[str, J1939]) -> LoadedDatabases:
    """`load_here`, in a child process."""
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-c", _CHILD, *_import_paths()],
            input=pickle.dumps((list(files), dict(settings))),
            capture_output=True,
            check=False,
            timeout=TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        raise DatabaseError(f"{_named(files)}: loading took longer than {TIMEOUT_S:.0f} s") from None
    except OSError as error:
        raise DatabaseError(f"{_named(files)}: cannot start {sys.executable} to load it: {error}") from None
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().rsplit("\n", 1)[-1]
        raise DatabaseError(f"{_named(files)}: loading ended with status {done.returncode}: {last}")
    answer = pickle.loads(done.stdout)  # noqa: S301  our own child wrote it
    if isinstance(answer, str):
        raise DatabaseError(answer)
    return cast("LoadedDatabases", answer)


def _import_paths() -> list[str]:
    """Those of this process, but for the current folder, unless this package is imported from there."""
    here = ""  # it may be gone
    with contextlib.suppress(OSError):
        here = str(Path.cwd())
    paths = [path for path in sys.path if path == _ROOT or (Path(path).is_absolute() and path != here)]
    return paths if _ROOT in paths else [*paths, _ROOT]


def serve() -> None:
    """The child: one request, one answer; a `DatabaseError` is answered as its text."""
    out, sys.stdout = sys.stdout.buffer, sys.stderr
    gc.disable()  # the process ends before it would pay
    sys.modules.setdefault("asammdf", cast("object", None))  # type: ignore[arg-type]
    from agent.decode.loading import load_here

    files, settings = pickle.load(sys.stdin.buffer)  # noqa: S301  our own parent wrote it
    answer: LoadedDatabases | str
    try:
        answer = load_here([(bus, Path(path)) for bus, path in files], settings)
    except DatabaseError as error:
        answer = str(error)
    out.write(pickle.dumps(answer))
    out.flush()


def _named(files: Sequence[tuple[str, str]]) -> str:
    return ", ".join(path for _, path in files)
