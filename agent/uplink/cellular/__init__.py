# SPDX-License-Identifier: Apache-2.0
"""The cellular network: how a modem stands with it, what may be spent of the data plan, what follows for the uplink.

`modem` asks by AT commands, `modemmanager` over D-Bus; `data_plan` keeps to what may be spent, and `send_policy` tells
the uplink what follows of both. What is read from a line is parsed by pure modules, and whatever a line brings, nothing
raises out of this room. This package imports nothing: who has neither modem nor plan does not pay for them.
"""
