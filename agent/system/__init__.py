# SPDX-License-Identifier: Apache-2.0
"""What the agent needs of the machine: clocks, logs, files that last, serial lines, threads, the service manager."""
