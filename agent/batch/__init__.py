# SPDX-License-Identifier: Apache-2.0
"""The wire format: batches of columns, and the catalogs that name their numbers.

batch.proto, codec.py     the messages; the format, drawn
encoder.py, decoder.py    batches to bytes and back; content.py what a batch holds
columns.py                columns of numbers in few bytes, and reading them; column_writer.py writing them
catalog.py                names, units and scaling, addressed by the hash of their content
frame.py, wire.py         the zstd frame; Protocol Buffers' encoding, and limits that hold before parsing
"""
