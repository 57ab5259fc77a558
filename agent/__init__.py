# SPDX-License-Identifier: Apache-2.0
"""canferry ferries a car's CAN signals to the cloud.

Sources drain the buses on a timer into blocks of frames; the decoder turns a whole block into columns of raw values
in a handful of numpy operations; the packer collects what rules and triggers keep into the open batch of each priority;
its stream appends each block to the journal, and seals the batch into a few compressed bytes; the spool keeps it,
synced, until the uplink has the broker's acknowledgement.
One event loop drains and sends, one worker thread decodes, compresses and owns the disk; `assembly` builds the parts
and `daemon` wires them. What is lost anyway is a gap that the next batch tells. At the other end the receiver keeps
each batch once, and `export` makes of batches what engineers open; one who stands at the car asks the running agent
(`live`). Read `daemon`, `pipeline`, `packer`, `stream` and `uplink.publisher`, and you know it.
"""

__version__ = "0.1.0"
