# SPDX-License-Identifier: Apache-2.0
"""A satellite receiver as a bus like the others: what it says becomes frames of a DBC file of its own.

So decoding, rules, triggers and exports need no special case. What is read from a line is parsed by pure modules, and
whatever a line brings, nothing raises out of this room. This package imports nothing: who has no receiver does not pay.
"""
