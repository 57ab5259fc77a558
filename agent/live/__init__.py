# SPDX-License-Identifier: Apache-2.0
"""What an engineer at the car is told by a running agent, over a UNIX socket: status, live signals, explanations.

    heard.py      what has come of each id, kept at block cost      snapshot.py   the agent at one moment
    protocol.py   what goes over the socket                         server.py     the agent's end
    client.py     the commands' end                                 diagnosis.py  from a snapshot to causes (pure)

Promise: whoever looks costs the agent little and can never hold it up; where nobody looks there is nothing but `Heard`.
The agent sends figures and raw frames; diagnosis, decoding and drawing are the looking process's work.
"""
