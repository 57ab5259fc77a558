# SPDX-License-Identifier: Apache-2.0
"""Conditions of triggers: text to tree, names to signals, and what is true of a block."""
