# SPDX-License-Identifier: Apache-2.0
"""From when until when a certificate holds, read from its DER bytes (RFC 5280, 4.1): Python's ssl shows peers' only.

    Certificate ::= SEQUENCE { tbsCertificate SEQUENCE { [0] version, serialNumber, signature, issuer,
                               validity SEQUENCE { notBefore Time, notAfter Time }, … }, … }

Limits: nothing is verified. Failure: ValueError, in words.
"""

from __future__ import annotations

import ssl
from datetime import UTC, datetime

_SEQUENCE = 0x30
_VERSION = 0xA0
_TIME_FORMATS = {0x17: "%y%m%d%H%M%SZ", 0x18: "%Y%m%d%H%M%SZ"}  # UTCTime, GeneralizedTime
_END = "-----END CERTIFICATE-----"


def expiry_s(pem: str) -> float:
    """Unix seconds of notAfter of the first certificate in a PEM text."""
    return validity_s(pem)[1]


def validity_s(pem: str) -> tuple[float, float]:
    """Unix seconds of notBefore and notAfter, likewise."""
    try:
        der = ssl.PEM_cert_to_DER_cert(pem[pem.index("-----BEGIN CERTIFICATE-----") : pem.index(_END) + len(_END)])
        certificate, _ = _sequence(der)
        fields, _ = _sequence(certificate)
        tag, _, rest = _read(fields)
        skipped = 3 if tag == _VERSION else 2  # serial number, signature, issuer: as many values to go
        for _ in range(skipped):
            _, _, rest = _read(rest)
        validity, _ = _sequence(rest)
        first, begin, rest = _read(validity)
        second, end, _ = _read(rest)
        return _time_s(first, begin), _time_s(second, end)
    except (ValueError, KeyError, IndexError) as error:
        raise ValueError("its expiry date cannot be read") from error


def _time_s(tag: int, content: bytes) -> float:
    return datetime.strptime(content.decode("ascii"), _TIME_FORMATS[tag]).replace(tzinfo=UTC).timestamp()


def _sequence(der: bytes) -> tuple[bytes, bytes]:
    """Content of the first value, and what comes after it; ValueError where it is no SEQUENCE."""
    tag, content, rest = _read(der)
    if tag != _SEQUENCE:
        raise ValueError("no sequence")
    return content, rest


def _read(der: bytes) -> tuple[int, bytes, bytes]:
    """Tag and content of the first value, and what comes after it."""
    length, begin = der[1], 2
    if length & 0x80:
        begin += length & 0x7F
        length = int.from_bytes(der[2:begin], "big")
    if len(der) < begin + length:
        raise ValueError("cut short")
    return der[0], der[begin : begin + length], der[begin + length :]
