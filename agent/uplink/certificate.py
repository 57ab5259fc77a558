# SPDX-License-Identifier: Apache-2.0
"""Until when a certificate holds, read from its DER bytes (RFC 5280, 4.1), which Python's ssl shows of peers only.

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
    try:
        der = ssl.PEM_cert_to_DER_cert(pem[pem.index("-----BEGIN CERTIFICATE-----") : pem.index(_END) + len(_END)])
        _, certificate, _ = _read(der)
        _, fields, _ = _read(certificate)
        tag, content, rest = _read(fields)
        skipped = 3 if tag == _VERSION else 2  # serial number, signature, issuer: as many values to go
        for _ in range(skipped):
            _, content, rest = _read(rest)
        tag, validity, _ = _read(rest)
        _, content, rest = _read(validity)
        tag, content, _ = _read(rest)
        return datetime.strptime(content.decode("ascii"), _TIME_FORMATS[tag]).replace(tzinfo=UTC).timestamp()
    except (ValueError, KeyError, IndexError) as error:
        raise ValueError("its expiry date cannot be read") from error


def _read(der: bytes) -> tuple[int, bytes, bytes]:
    """Tag and content of the first value, and what comes after it."""
    length, begin = der[1], 2
    if length & 0x80:
        begin += length & 0x7F
        length = int.from_bytes(der[2:begin], "big")
    if len(der) < begin + length:
        raise ValueError("cut short")
    return der[0], der[begin : begin + length], der[begin + length :]
