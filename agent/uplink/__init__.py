# SPDX-License-Identifier: Apache-2.0
"""From the spool to the broker: a batch leaves the disk only after the broker's successful acknowledgement.

    sender.py          the loop that keeps a link up, from one try to the next
    publisher.py       what goes over a link: window, live before backlog, retries from the spool only
    sender_state.py    what these two share
    cursor.py          the publisher's place in one spool
    held_back.py       batches that stay in the spool for now, and why
    delivery.py        how a broker gets the catalogs that it misses
    send_policy.py     window, rates, and what the network allows; backoff.py: pauses between tries
    transport.py       what the sender needs of a link, and what each reason code means; reasons.py: in words
    mqtt_transport.py  that, over MQTT: one connection a link, the protocol version found once
    mqtt_client.py     the MQTT library, wrapped; packets.py: in its own types
    in_flight.py       what waits for its acknowledgement on one connection; incoming.py: what the broker may send
    mqtt_subscriber.py the receiving side, for the cloud's end
    trial.py           whether a broker would take a publish, for `check`
    connect.py         name, TCP, TLS, without blocking the loop
    credentials.py     authorities, certificate, key and password, from files; tpm.py: keys in a TPM
    certificate_rotation.py   which certificate and key to log in with, while they are being replaced
    brokers.py         what earlier connections have shown of a broker
    profiles.py        what each kind of endpoint asks for and refuses
    options.py, properties.py   broker, client, topics, and what a message says of itself
    status.py          what is published and reported of all that

Nothing here knows what is in a batch.
"""
