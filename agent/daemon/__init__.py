# SPDX-License-Identifier: Apache-2.0
"""The running agent: its parts built from a configuration, wired, supervised, and what it shows of itself."""
