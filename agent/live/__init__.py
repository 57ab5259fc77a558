# SPDX-License-Identifier: Apache-2.0
"""The local socket of a running agent: status, live signals, explanations for an engineer at the car.

    in the agent       server.py    the socket                 protocol.py   what goes over it
                       snapshot.py  the agent's status         heartbeat.py  its short form, for the status topic
    in the commands    client.py    the other end
                       status_screen.py  a snapshot drawn, with the findings of diagnosis.py
                       tail.py      live signals (signals.py) as a table (table.py) or as curves (plot.py)
                       explain.py   one id or name in full (input: explain_input.py), as text: explain_text.py

Promise: a client costs the agent little and never holds it up. Without clients only `TrafficStatistics` is kept.
The agent sends status and raw frames; diagnosis, decoding and drawing are the client's work.
"""
