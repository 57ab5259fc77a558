# SPDX-License-Identifier: Apache-2.0
"""canferry ferries a car's CAN signals to the cloud."""

__version__ = "0.1.0"
