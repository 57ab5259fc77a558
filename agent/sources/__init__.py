# SPDX-License-Identifier: Apache-2.0
"""Where frames come from: live buses, python-can's interfaces, recorded logs, the demo's car.

Every source is an async context manager: entering opens it and tolerates what is missing, leaving closes it.
Between the two, `drain()` takes what has arrived since the last call as one `FrameBlock`: it never blocks and
never gives more than a fixed number of frames. `counters()` tells what was seen and what was lost, `states()`
how each bus is, and `exhausted` is true once a recorded log has ended. No source ever transmits on a bus.

This package imports nothing: who needs one source does not pay for the others.
"""
