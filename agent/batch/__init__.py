# SPDX-License-Identifier: Apache-2.0
"""What travels: batches of columns and the catalogs that name their numbers.

batch.proto   the messages · codec.py the format, drawn · encoder.py, decoder.py there and back
columns.py    how a column of numbers is written in few bytes
catalog.py    names, units and scaling, addressed by content
physical.py   raw field bits to the numbers that a DBC file means
"""
