# SPDX-License-Identifier: Apache-2.0
"""What the unit's radios know: where it is, what time it is, how it stands with the cellular network, what that costs.

`gnss` is a source like those of `agent.sources`: what a satellite receiver says becomes frames, described by a DBC
file of its own, so that decoding, rules, triggers and exports need no special case. `modem` asks a modem, `dataplan`
keeps to what may be spent, and `allowance` tells the uplink what follows of both. `port` is the line behind receiver
and modem, one that comes and goes. What is read from a line is parsed by pure modules, and whatever a line brings,
nothing raises out of this room.

This package imports nothing: who has neither receiver, modem nor plan does not pay for them.
"""
