# SPDX-License-Identifier: Apache-2.0
"""Name, TCP, TLS: a connected, non-blocking socket, made without ever blocking the event loop.

Promise: cancelling leaves no socket behind; the name is resolved in a daemon thread, so that a resolver that
hangs holds up neither the loop nor the end of the process. Host name and certificate chain are always
verified, TLS is 1.2 or newer. The caller sets the time limit.

Failure: RefusedError, one line, with the address, the reason and what to do about it.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import ipaddress
import socket
import ssl
import struct
import termios
import threading
from typing import TYPE_CHECKING, Any

from agent.errors import ConfigError
from agent.uplink.transport import RefusedError, Trouble
from agent.uplink.watch import NO_TRAFFIC, Traffic

if TYPE_CHECKING:
    from pathlib import Path

    from agent.uplink.options import MqttOptions

_TCP_INFO_BYTES_ACKED = 120
"""Offset of tcpi_bytes_acked, a uint64, in Linux' struct tcp_info (linux/tcp.h, since 4.1);
tcpi_bytes_received follows."""

_ANYWHERE = ("192.0.2.1", "2001:db8::1")
"""TEST-NET-1 (RFC 5737) and the documentation prefix (RFC 3849): the way to them is the default route."""
_DISCARD = 9

_VERIFY_ADVICE = {
    9: "its certificate is not valid yet: check this unit's clock",
    10: "its certificate has expired (or this unit's clock is wrong)",
    18: "its certificate is self-signed: set mqtt.ca to it if that is meant",
    19: "its certificate was signed by an authority that mqtt.ca does not hold",
    20: "its certificate was signed by an authority that mqtt.ca does not hold",
    21: "its certificate was signed by an authority that mqtt.ca does not hold",
    62: "its certificate is for another host name: check mqtt.broker",
    64: "its certificate is for another address: check mqtt.broker, or use the host name in it",
}
"""X509_V_ERR_* (openssl/x509_vfy.h) in the words of a configuration."""

_ALERT_ADVICE = {
    "WRONG_VERSION_NUMBER": "it does not speak TLS on this port: use mqtt:// or another port",
    "RECORD_LAYER_FAILURE": "it does not speak TLS on this port: use mqtt:// or another port",
    "CERTIFICATE_REQUIRED": "it asks for a client certificate: set mqtt.certificate and mqtt.key",
    "HANDSHAKE_FAILURE": "it may ask for a client certificate: set mqtt.certificate and mqtt.key",
    "UNKNOWN_CA": "it does not trust the authority behind our client certificate (mqtt.certificate)",
    "CERTIFICATE_EXPIRED": "it says that our client certificate (mqtt.certificate) has expired",
    "CERTIFICATE_REVOKED": "it says that our client certificate (mqtt.certificate) is revoked",
    "BAD_CERTIFICATE": "it does not accept our client certificate (mqtt.certificate)",
    "CERTIFICATE_UNKNOWN": "it does not accept our client certificate (mqtt.certificate)",
    "PROTOCOL_VERSION": "it speaks no TLS version that is still safe (1.2 or newer)",
}


def has_route(host: str) -> bool:
    """Whether the kernel has a route to an address, or, for a name, to anywhere; no packet leaves the unit."""
    addresses = (host,) if _is_address(host) else _ANYWHERE
    for address in addresses:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect((address, _DISCARD))
            return True
    return False


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def tls_context(options: MqttOptions, certificate: Path | None = None, key: Path | None = None) -> ssl.SSLContext:
    """The TLS side of the options, the files read anew; blocks for the disk. Raises ConfigError.

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
        context = ssl.create_default_context(cafile=options.ca)
    except ssl.SSLError:
        raise ConfigError(f"mqtt.ca {options.ca}: not a PEM file of certificates") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if options.alpn:
        context.set_alpn_protocols([options.alpn])
    if certificate is not None:
        try:
            context.load_cert_chain(certificate, key, password=_no_passphrase)
        except ssl.SSLError as error:
            detail = "they do not belong together" if "MISMATCH" in str(error) else "not PEM, or encrypted"
            raise ConfigError(f"mqtt.certificate {certificate} and mqtt.key {key}: {detail}") from None
    elif key is not None:
        raise ConfigError("mqtt.key is set without mqtt.certificate")
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


def control_congestion(sock: socket.socket, name: str) -> bool:
    """Ask for TCP's congestion control by name; whether the kernel has it and allows it.

    CUBIC, Linux' default, takes each lost packet for congestion: at 200 ms and 2 % it keeps to 62 kB/s, whatever
    the link (Mathis et al., 1997: 1.22 segments a round trip over the root of the loss). BBR goes by the rate at which
    its data gets through (draft-ietf-ccwg-bbr); it needs timers that are on time.
    """
    if not name:
        return True
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, name.encode())
    except (AttributeError, OSError):
        return False
    return True


async def open_socket(options: MqttOptions, context: ssl.SSLContext | None) -> socket.socket:
    """A connected, non-blocking socket, TLS done where `context` is given. Raises RefusedError."""
    try:
        plain = await _connect(options)
    except OSError as error:
        raise refused(options, error) from None
    if context is None:
        return plain
    try:
        return await _shake_hands(plain, context, options.host)
    except OSError as error:
        refusal = refused(options, error)
        refusal.silent = isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError | ConnectionResetError)
        raise refusal from None


def traffic(sock: socket.socket) -> Traffic:
    """The connection's counters; zeros where the system has none, so that only time decides."""
    try:
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
        delivered, received = struct.unpack_from("=QQ", info, _TCP_INFO_BYTES_ACKED)
        (queued,) = struct.unpack("=i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)))
    except (OSError, struct.error):
        return NO_TRAFFIC
    return Traffic(delivered, received, queued)


def refused(options: MqttOptions, error: BaseException) -> RefusedError:
    """The error in one line for a person, with the address and, where there is one, the next move."""
    trouble = Trouble.UNREACHABLE
    if isinstance(error, ssl.SSLError) and "ALERT" in (error.reason or ""):
        trouble = Trouble.UNAUTHORIZED
    return RefusedError(f"broker {options.address}: {explain(error)}", trouble)


def explain(error: BaseException) -> str:
    """What an error of the network or of TLS means, without the address."""
    if isinstance(error, ssl.SSLCertVerificationError):
        advice = _VERIFY_ADVICE.get(error.verify_code, "its certificate does not verify")
        return f"{advice} ({error.verify_message})"
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return "it closed the connection during TLS"
    if isinstance(error, ssl.SSLError):
        reason = error.reason or str(error)
        advice = next((text for mark, text in _ALERT_ADVICE.items() if mark in reason), "TLS failed")
        return f"{advice} ({reason.replace('_', ' ').lower()})"
    if isinstance(error, socket.gaierror):
        return f"the host name is unknown ({error.strerror}): check mqtt.broker and the unit's DNS"
    if isinstance(error, ConnectionRefusedError):
        return "nothing listens there (connection refused): check mqtt.broker's port"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__


async def _connect(options: MqttOptions) -> socket.socket:
    """The first address that answers; each gets an even share of what is left of the time limit."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + options.connect_timeout_s
    addresses = await _resolve(options.host, options.port)
    failure: OSError = OSError("the host name has no address")
    for number, (family, kind, protocol, _, address) in enumerate(addresses):
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setblocking(False)
            _tune(sock, options)
            share_s = (deadline - loop.time()) / (len(addresses) - number)
            async with asyncio.timeout(max(share_s, 0.1)):
                await loop.sock_connect(sock, address)
        except OSError as error:
            sock.close()
            failure = error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise failure


async def _resolve(host: str, port: int) -> list[Any]:
    """`getaddrinfo` in a daemon thread: the event loop's own threads would hold up the end of the process."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[list[Any]] = loop.create_future()

    def settle(result: list[Any] | None, error: BaseException | None) -> None:
        if answer.done():
            return
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(result or [])

    def resolve() -> None:
        result, failure = None, None
        try:
            result = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except UnicodeError:
            failure = OSError("the host name is not a valid one")
        except OSError as error:
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop is gone: nobody waits any more
            loop.call_soon_threadsafe(settle, result, failure)

    threading.Thread(target=resolve, name="uplink-resolver", daemon=True).start()
    return await answer


def _tune(sock: socket.socket, options: MqttOptions) -> None:
    """No Nagle delay; should our own watch fail, the kernel gives up on a peer that takes nothing in."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    control_congestion(sock, options.congestion)
    timeout_ms = int(2000 * max(options.acknowledge_timeout_s, options.answer_timeout_s))
    with contextlib.suppress(AttributeError, OSError):  # Linux only
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, timeout_ms)


async def _shake_hands(plain: socket.socket, context: ssl.SSLContext, host: str) -> ssl.SSLSocket:
    """The TLS handshake on a non-blocking socket; closes it where that fails."""
    try:
        sock = context.wrap_socket(plain, server_hostname=host, do_handshake_on_connect=False)
    except BaseException:
        plain.close()
        raise
    try:
        while True:
            try:
                sock.do_handshake()
            except ssl.SSLWantReadError:
                await _ready(sock, write=False)
            except ssl.SSLWantWriteError:
                await _ready(sock, write=True)
            else:
                return sock
    except BaseException:
        sock.close()
        raise


async def _ready(sock: socket.socket, *, write: bool) -> None:
    """Wait until the socket can be read or written."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    descriptor = sock.fileno()
    add, remove = (loop.add_writer, loop.remove_writer) if write else (loop.add_reader, loop.remove_reader)
    add(descriptor, _settle, ready)
    try:
        await ready
    finally:
        remove(descriptor)


def _settle(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)


def _check_readable(key: str, path: Path | None) -> None:
    if path is None:
        return
    try:
        path.open("rb").close()
    except OSError as error:
        raise ConfigError(f"mqtt.{key} {path}: {(error.strerror or str(error)).lower()}") from None


def _no_passphrase() -> str:
    return ""  # a daemon has nobody to ask: an encrypted key is an error, not a prompt
