# SPDX-License-Identifier: Apache-2.0
"""What the unit's radios know: where it is, what time it is, and how it stands with the cellular network.

`gnss` is a source like those of `agent.sources`: what a satellite receiver says becomes frames, described by a DBC
file of its own, so that decoding, rules, triggers and exports need no special case. `modem` asks a modem, and
`allowance` tells the uplink what follows of it. `port` is the line behind both, one that comes and goes. What is read
from a line is parsed by pure modules, and whatever a line brings, nothing raises out of this room.

This package imports nothing: who has neither receiver nor modem does not pay for them.
"""
