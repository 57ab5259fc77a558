# SPDX-License-Identifier: Apache-2.0
"""The demo: the whole way from a car to the cloud in one process, with an outage in the middle and a proof at the end.

    simulated car ─► agent (daemon.run) ─► cellular link ─► broker ─► receiver ─► tally
                                               │ cut

    scenario.py    how long, when the link is cut, and the configuration that the agent gets
    stage.py       puts it all up, plays the scenario, takes it all down
    cellular.py    a TCP relay that can be cut
    broker.py      an MQTT 3.1.1 broker in this process
    cloud.py       the receiving end, and the count of what it got
    outcome.py     what was sent against what was received
    show.py, live.py, closing.py   what a person sees meanwhile, and at the end
    voice.py       the agent's log, kept off the screen

The agent, the spool, the uplink and the receiver are the real ones. Only car, link and broker are stand-ins.
"""
