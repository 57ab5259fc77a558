# SPDX-License-Identifier: Apache-2.0
"""Codes of events and findings that have another name now: a line or a finding bears the old one as `was`.

Limit: an entry stays for one release. systemd/OPERATION.md names the old code beside the new one.
"""

EVENTS = {
    "bus_up": "interface_up",
    "bus_down": "interface_down",
    "bus_missing": "interface_missing",
    "bus_off": "interface_bus_off",
    "bus_not_can": "interface_not_can",
}
"""New and old, of log lines: what the findings called the same state."""
FINDINGS = {
    "batch_over_limit": "batches_too_large",
    "batch_refused": "batches_refused",
    "batches_rejected": "broker_rejects",
}
"""New and old, of findings: what the log called the same state."""
