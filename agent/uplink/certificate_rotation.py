# SPDX-License-Identifier: Apache-2.0
"""Which certificate and key to log in with, while they are being replaced.

The files are read at every connection. Promise: a pair with which the broker has acknowledged a publish is kept in
memory until another one has proved itself likewise. A new pair that does not load, is out of its dates while the kept
one is not, or is refused by the broker, costs a connection; the kept pair goes on.

    found in the files ─ loads, dates ─► tried ─ first acknowledged publish ─► kept
                            │              └─ refused ─► doubted for DOUBT_S ─► tried again
                            └────► kept one goes on

Limits: memory only. After a restart there is one pair: that in the files. An end of the link without a word may be the
network's doing: it counts as a refusal the second time. Trust in the broker (`mqtt.ca`) is always that of the file.
Failure: ConfigError where no pair can be used.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from agent.errors import ConfigError
from agent.uplink import credentials
from agent.uplink.credentials import validity_s

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from agent.uplink.options import MqttOptions

log = structlog.get_logger()

DOUBT_S = 3600.0
"""After so long a pair that was refused is tried again at the next connection: what it lacked may be there by then."""
_STRIKES = 2
_HINT = "nothing is lost, the pair before it goes on: mend mqtt.certificate and mqtt.key, and reload"


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate with its chain, and its private key, as their files held them at one moment; PEM."""

    certificate: bytes
    key: bytes = field(repr=False)

    @property
    def name(self) -> str:
        """Tells pairs apart in the log: the beginning of the certificate file's SHA-256."""
        return hashlib.sha256(self.certificate).hexdigest()[:16]

    def is_in_date(self, now: float) -> bool:
        """Whether the certificate holds at this UNIX time; one whose dates cannot be read does."""
        try:
            begin_s, end_s = validity_s(self.certificate.decode("latin-1"))
        except ValueError:
            return True
        return begin_s <= now <= end_s


class CertificateRotation:
    """The pairs of one agent, over reconnections and reloads. One caller at a time.

    kept       the broker has acknowledged a publish with it
    found      what the files hold now; None where it does not load
    in_use     of the latest connection
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.kept: Pair | None = None
        self.found: Pair | None = None
        self.in_use: Pair | None = None
        self._clock = clock
        self._address = ""
        self._doubted: Pair | None = None
        self._doubted_until = 0.0
        self._strikes = 0
        self._reported = ""

    def begin(self, address: str) -> None:
        """The configuration was read, for this broker: whatever was doubted gets its chance."""
        if address != self._address:
            self.kept = None
        self._address, self._doubted, self._strikes, self._reported = address, None, 0, ""

    def context(self, options: MqttOptions) -> ssl.SSLContext:
        """TLS with the pair to log in with next; reads files, blocks. Raises ConfigError."""
        if options.certificate is None:
            self.found = self.in_use = None
            return credentials.tls_context(options)
        context = None
        try:
            context = credentials.tls_context(options)
            self.found, fault = _read(options), "it is out of its dates"
        except ConfigError as error:
            if self.kept is None:
                raise
            self.found, fault = None, str(error)
        self.in_use = self._choose()
        if self.in_use is self.found and context is not None:
            return context
        if not self._is_doubted():
            self._report(fault)
        del context  # a TPM has room for few keys
        with _in_memory(self.in_use.certificate) as certificate, _in_memory(self.in_use.key) as key:
            try:
                return credentials.tls_context(options, certificate, key)
            except ConfigError as error:
                raise type(error)(str(error).replace(str(key), "of the pair before it")) from None

    def _choose(self) -> Pair:
        now, kept, found = self._clock(), self.kept, self.found
        if found is None or found == kept or kept is None:
            chosen = found or kept
            assert chosen is not None
            return chosen
        unfit = kept.is_in_date(now) and not found.is_in_date(now)
        return kept if unfit or self._is_doubted() else found

    def _is_doubted(self) -> bool:
        return self._doubted is not None and self.found == self._doubted and self._clock() < self._doubted_until

    def proved(self) -> None:
        """The broker has acknowledged a publish on the latest connection."""
        self._strikes = 0
        if self.in_use is None or self.in_use == self.kept:
            return
        if self.kept is not None:
            log.info("certificate_changed", certificate=self.in_use.name, before=self.kept.name)
        self.kept = self.in_use

    def refused(self, reason: str, *, silent: bool = False) -> bool:
        """The broker does not want the pair of the latest connection; whether to go back to the kept one at once.

        Args:
            reason: for the log.
            silent: it closed without a word, which may be anybody's doing.

        """
        if self.kept is None or self.found is None or self.found == self.kept:
            return False
        if self.in_use == self.kept:
            self._doubted = None  # the broker may know the other one by now
            return False
        self._strikes += 1 if silent else _STRIKES
        if self._strikes < _STRIKES:
            return False
        self._strikes = 0
        self._doubted, self._doubted_until = self.found, self._clock() + DOUBT_S
        self._report(reason)
        return True

    def _report(self, reason: str) -> None:
        """Once for each reason."""
        if reason != self._reported:
            self._reported = reason
            names = {"certificate": self.found and self.found.name, "before": self.kept and self.kept.name}
            log.warning("certificate_refused", **names, reason=reason, hint=_HINT)


def _read(options: MqttOptions) -> Pair:
    assert options.certificate is not None
    try:
        certificate = options.certificate.read_bytes()
        return Pair(certificate, certificate if options.key is None else options.key.read_bytes())
    except OSError as error:
        raise ConfigError(f"mqtt.certificate {options.certificate}: {error.strerror or error}") from None


@contextlib.contextmanager
def _in_memory(content: bytes) -> Iterator[Path]:
    """A file that is on no disk: OpenSSL reads certificates and keys from files only."""
    from pathlib import Path

    try:
        descriptor = os.memfd_create("canferry", os.MFD_CLOEXEC)
    except OSError as error:
        raise ConfigError(f"the certificate before this one cannot be used: {error.strerror}") from None
    try:
        os.write(descriptor, content)
        yield Path(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
