# SPDX-License-Identifier: Apache-2.0
"""The demo: the whole way from a car to the cloud in one process, with an outage in the middle and a proof at the end.

    simulated car ─► agent (daemon.run) ─► cellular link ─► broker ─► receiver ─► counters
                                               │ cut

    scenario.py   how long, when the link is cut, and the agent's configuration
    runner.py     starts everything, plays the scenario, ends everything
    network.py    a TCP relay that can be cut, and an MQTT 3.1.1 broker in this process
    cloud.py      the receiving end, and the counters of what it received
    outcome.py    what was sent against what was received, and how it is printed
    view.py, terminal_view.py   what is shown meanwhile, the agent's log among it

Agent, spool, uplink and receiver are the real ones. Only car, link and broker are stand-ins.
"""
