# SPDX-License-Identifier: Apache-2.0
"""Batches to one HTML page that shows what a drive is: its signals, what is missing of them, and what they cost.

    recorded.py    a recorded log to a folder of batches, through the agent's own parts
    survey.py      batches to numbers: axis.py (columns of time), trace.py (a signal in columns), message_bytes.py
    page.py        numbers to the page: tables.py, plots.py, writing.py (numbers, names, escaping), page.css, page.js

The page needs nothing but itself: no network, no library, and its own policy (Content-Security-Policy) forbids both.
Names, units and texts come from DBC files and over wires, and are shown as text, never read as markup.
"""
