# SPDX-License-Identifier: Apache-2.0
"""What the unit's radios know: where it is and what time it is.

`gnss` is a source like those of `agent.sources`: what a satellite receiver says becomes frames, described by a DBC
file of its own, so that decoding, rules, triggers and exports need no special case. `port` is the line behind it, one
that comes and goes. What is read from a line is parsed by pure modules, and whatever a line brings, nothing raises out
of this room.

This package imports nothing: who has no receiver does not pay for it.
"""
