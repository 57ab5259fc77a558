# SPDX-License-Identifier: Apache-2.0
"""What logging in needs, read from files: authorities to trust, certificate and key, a password.

Promise: host name and certificate chain are always verified, TLS is 1.2 or newer. The name is one of the certificate's
subject alternative names, never its common name, which nobody has to verify (RFC 9525, 6.3). Keys of a connection are
written nowhere, whatever SSLKEYLOGFILE says. Nobody is asked for a passphrase.

Python's ssl shows the dates of peers' certificates only; those of a file are read from its DER bytes (RFC 5280, 4.1):

    Certificate ::= SEQUENCE { tbsCertificate SEQUENCE { [0] version, serialNumber, signature, issuer,
                               validity SEQUENCE { notBefore Time, notAfter Time }, … }, … }

Failure: ConfigError, one line with key, file and what to do; `TpmError` where the TPM is needed and does not answer;
ValueError, in words, where a certificate has no readable dates.
"""

from __future__ import annotations

import ssl
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from agent.errors import ConfigError
from agent.uplink.tpm import is_in_tpm, load_provider

if TYPE_CHECKING:
    from pathlib import Path

    from agent.uplink.options import MqttOptions


_TPM_ADVICE = (
    "the key is in a TPM that cannot be used now: check that OpenSSL's provider is installed (tpm2-openssl), that this "
    "user may open the TPM (/dev/tpmrm0, group tss), and that it is the TPM which made the key"
)
_OPENSSL_ADVICE = (
    "OpenSSL has no ciphers: check the file that OPENSSL_CONF names; it has to activate the provider default"
)


class TpmError(ConfigError):
    """The key is in a TPM that cannot be used: not a reason to give up, it may be later."""


def tls_context(options: MqttOptions, certificate: Path | None = None, key: Path | None = None) -> ssl.SSLContext:
    """The TLS side of the options, the files read anew; blocks for the disk and the TPM. Raises ConfigError.

    Args:
        options: say which files.
        certificate: another one than theirs,
        key: and its key.

    """
    certificate, key = (certificate, key) if certificate else (options.certificate, options.key)
    _check_readable("ca", options.ca)
    _check_readable("certificate", certificate)
    _check_readable("key", key)
    try:
        context = _verifying_context(options.ca)
    except ssl.SSLError as error:
        if error.reason == "LIBRARY_HAS_NO_CIPHERS":
            raise ConfigError(_OPENSSL_ADVICE) from None
        raise ConfigError(f"mqtt.ca {options.ca}: not a PEM file of certificates") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if options.alpn:
        context.set_alpn_protocols([options.alpn])
    if certificate is not None:
        _load_pair(context, certificate, key)
    elif key is not None:
        raise ConfigError("mqtt.key is set without mqtt.certificate")
    return context


def _verifying_context(ca: Path | None) -> ssl.SSLContext:
    """As `ssl.create_default_context`, which would write keys to the file that SSLKEYLOGFILE names."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.hostname_checks_common_name = False
    if sys.version_info >= (3, 13):
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VERIFY_X509_STRICT
    if ca is None:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    else:
        context.load_verify_locations(ca)
    return context


def read_password(options: MqttOptions) -> str | None:
    """The password, from its file where one is named; blocks for the disk. Raises ConfigError."""
    if options.password_file is None:
        return options.password
    _check_readable("password_file", options.password_file)
    try:
        lines = options.password_file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise ConfigError(f"mqtt.password_file {options.password_file}: not UTF-8 text") from None
    return lines[0] if lines else ""


def _load_pair(context: ssl.SSLContext, certificate: Path, key: Path | None) -> None:
    try:
        _load(context, certificate, key)
    except ssl.SSLError as error:
        if "MISMATCH" in str(error):
            detail = "they do not belong together"
        elif is_in_tpm(key or certificate):
            raise TpmError(f"mqtt.key {key or certificate}: {_TPM_ADVICE}") from None
        else:
            detail = "not PEM, or encrypted"
        raise ConfigError(f"mqtt.certificate {certificate} and mqtt.key {key}: {detail}") from None


def _load(context: ssl.SSLContext, certificate: Path, key: Path | None) -> None:
    """Once more where OpenSSL did not know yet what to do with a key in a TPM. Raises ssl.SSLError."""
    try:
        context.load_cert_chain(certificate, key, password=_no_passphrase)
    except ssl.SSLError as error:
        if "MISMATCH" in str(error) or not is_in_tpm(key or certificate) or not load_provider():
            raise
        context.load_cert_chain(certificate, key, password=_no_passphrase)


def _check_readable(key: str, path: Path | None) -> None:
    if path is None:
        return
    try:
        path.open("rb").close()
    except OSError as error:
        raise ConfigError(f"mqtt.{key} {path}: {(error.strerror or str(error)).lower()}") from None


def _no_passphrase() -> str:
    return ""  # a daemon has nobody to ask: an encrypted key is an error, not a prompt


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
