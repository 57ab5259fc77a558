# SPDX-License-Identifier: Apache-2.0
"""The cloud's end: batches and catalogs in, each kept once, every gap named, and files that engineers open out.

    reception.py   the receiving loop; decoded.py batches written decoded as they come
    inbox.py       what arrives becomes files (layout.py, together.py), once; handling.py what processes die of
    ledger.py      what has come, in SQLite; rebuilding.py where there is none; spans.py, gaps.py what is missing
    inventory.py   what lies under some paths: batch files, spools (spools.py), catalogs (catalogs.py)
    placing.py     frames of a wrong clock to where they belong
    merge.py       batches to windows of time; parts.py what a window is made of
    export.py      windows to files, by a writer: writers.py (lines.py), parquet.py, mf4.py; folders.py (wide.py)

Nothing that comes over the wire is trusted: names become safe file names, sizes are limited, numbers are checked
against the catalog, and what is no batch is set aside and counted.
"""
