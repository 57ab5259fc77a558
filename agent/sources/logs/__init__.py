# SPDX-License-Identifier: Apache-2.0
"""Recorded logs: one reader a format, each of which moves on with every step, and what they have in common."""
