# SPDX-License-Identifier: Apache-2.0
"""From the spool to the broker: a batch leaves the disk only after the broker's successful acknowledgement.

    sender.py       the loop that keeps a link up, from one try to the next
    feed.py         what goes over a link: window, live before backlog, retries from the spool only
    lane.py         one spool as the sender goes through it
    transport.py    what the sender needs of a link, and what each reason code means
    link.py         that, over MQTT: one connection a link, the protocol version found once
    mqtt.py         the MQTT library, wrapped; the only module that imports it
    inflight.py     what waits for its acknowledgement on one connection; incoming.py: what the broker sends of itself
    dialing.py      name, TCP, TLS, without blocking the loop
    credentials.py  authorities, certificate, key and password, from files
    tpm.py          keys in a TPM
    subscriber.py   the receiving side, for the cloud's end
    rotation.py     which certificate and key to log in with, while they are being replaced
    owners.py       batches that were sealed for another vehicle id
    catalogs.py     the catalogs that stored batches name, and which broker has them
    delivery.py     how a broker gets those that it misses
    profiles.py     what each kind of endpoint asks for and refuses
    options.py, labels.py, status.py, certificate.py, reasons.py       what goes in, what is told
    backoff.py, window.py, suspects.py, watch.py, aliases.py           decisions, pure

Nothing here knows what is in a batch.
"""
