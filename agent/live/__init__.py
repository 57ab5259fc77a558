# SPDX-License-Identifier: Apache-2.0
"""What an engineer at the car is told by a running agent, over a UNIX socket: status, live signals, explanations.

    in the agent       heard.py     what has come of each id, kept at block cost
                       server.py    the socket
    over the socket    protocol.py  what goes over it        snapshot.py   the agent at one moment
    in the commands    client.py    the other end            diagnosis.py  from a snapshot to causes
                       screen.py    both, drawn              signals.py    last frames decoded, table.py drawn
                       explain.py   one id or name in full   explained.py  drawn, its bits by bits.py
    to the cloud       heartbeat.py what the status topic tells of it

Promise: whoever looks costs the agent little and can never hold it up; where nobody looks there is nothing but
`TrafficStatistics`. The agent sends status and raw frames; diagnosis, decoding and drawing are the client's work.
"""
