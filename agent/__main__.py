# SPDX-License-Identifier: Apache-2.0
"""``python -m agent`` is ``canferry``."""

import sys

from agent.cli import main

if __name__ == "__main__":
    sys.exit(main())
