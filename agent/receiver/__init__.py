# SPDX-License-Identifier: Apache-2.0
"""The cloud's end: receives batches and catalogs, keeps each once, names every gap, and exports files.

    receive_loop.py       messages from the broker, stored in groups, then acknowledged
    batch_receiver.py     payloads to files, each batch once; handling.py payloads that end the process
    decoded.py            batches written decoded as they arrive
    ledger.py             what was received, in SQLite; rebuilding.py makes it anew from the files
    gaps.py               sequence ranges, and what is missing from them
    layout.py             names of files and folders; catalogs found by their hash
    folder.py             the folder as the end of a replay, and its lock
    inventory.py          batches found under some paths, in files and spools
    clock_correction.py   frames received under a wrong clock, re-stamped
    windows.py            batches cut into windows of time
    export.py             windows to one file: writers.py (lines.py), parquet.py, mf4.py, wide.py
    atomic_output.py      files that appear whole or not at all

Nothing from the wire is trusted. Names become safe file names, sizes are limited, and numbers are checked against the
catalog. A payload that is no batch and no catalog goes to `rejected/`.
"""
