# SPDX-License-Identifier: Apache-2.0
"""From the spool to the broker: a batch leaves the disk only after the broker's successful acknowledgement.

    sender.py      the loop: window, live before backlog, retries from the spool only
    transport.py   what the sender needs of a link, and what each reason code means
    mqtt.py        the MQTT library, wrapped; the only module that imports it
    subscriber.py  the receiving side of the same library, for the cloud's end
    dialing.py     name, TCP, TLS, without blocking the loop
    catalogs.py    the catalogs that stored batches name, and which broker has them
    backoff.py, window.py, suspects.py, topics.py   decisions, pure

Nothing here knows what is in a batch.
"""
