# SPDX-License-Identifier: Apache-2.0
"""The one place where python-can is imported.

Promise: `import can` imports asammdf, and with it pandas, wherever that is installed, only to be able to read
MF4 logs: 21 MB become 146 MB and 40 ms become 0.7 s. `python_can()` gives the same module without: such logs are
read here, see mf4.py.

How: while python-can is imported, a placeholder says that there is no asammdf, which python-can is prepared
for. The placeholder is gone afterwards: whoever imports asammdf for himself gets it. Everyone in this package
who needs python-can calls here and does not import it by name.
"""

from __future__ import annotations

import importlib
import sys
import threading
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from types import ModuleType

_HEAVY = "asammdf"
_importing = threading.Lock()


def python_can() -> ModuleType:
    """The module `can`, imported without asammdf unless somebody has imported either before."""
    with _importing:
        if "can" in sys.modules or _HEAVY in sys.modules:
            return importlib.import_module("can")
        sys.modules[_HEAVY] = cast("ModuleType", None)  # "import asammdf" is an ImportError from here …
        try:
            return importlib.import_module("can")
        finally:
            del sys.modules[_HEAVY]  # … to here
