# SPDX-License-Identifier: Apache-2.0
"""Name, TCP, TLS: a connected, non-blocking socket, made without ever blocking the event loop.

Promise: cancelling leaves no socket behind; the name is resolved and the steps of the handshake are made in a
thread of their own (`system.process`), so that neither a resolver that hangs nor a TPM that takes its time to sign
holds up the loop or the end of the process. Host name and certificate chain are always verified. The caller sets the
time limit.

Failure: RefusedError, one line, with the address, the reason and what to do about it.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import fcntl
import functools
import ipaddress
import socket
import ssl
import struct
import termios
from typing import TYPE_CHECKING, Any, TypeVar

from agent.system.process import run_in_daemon_thread
from agent.uplink.in_flight import NO_TRAFFIC, Traffic
from agent.uplink.transport import RefusedError, Trouble

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent.uplink.options import MqttOptions

T = TypeVar("T")

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

_UNSIGNED = "EVP lib"
"""All that Python tells of a signature that OpenSSL, or a TPM on its behalf, could not make."""


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


def control_congestion(sock: socket.socket, name: str) -> bool:
    """Ask for TCP's congestion control by name; whether the kernel has it and allows it.

    CUBIC, Linux' default, takes each lost packet for congestion: at 200 ms and 2 % it keeps to 62 kB/s, whatever
    the link (Mathis et al., 1997: 1.22 segments a round trip over the root of the loss; 76 kB/s over netem). BBR goes
    by the rate at which its data gets through (draft-ietf-ccwg-bbr); it needs timers that are on time.
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


def reporting_errors(operation: Callable[[Any], T], report: Callable[[OSError], None]) -> Callable[[Any], T]:
    """The same operation on a socket; `report` is told its error, unless that is only that it would block."""

    def reporting(argument: Any) -> T:
        try:
            return operation(argument)
        except BlockingIOError:
            raise
        except OSError as error:
            report(error)
            raise

    return reporting


def last_alert(sock: object, error: OSError) -> OSError:
    """What a TLS peer had said before it closed, where writing found it closed; else the error.

    In TLS 1.3 a client is done with the handshake before the server has looked at its certificate. The alert of one
    that refuses it lies unread when the first packet is written to a connection that has been reset by then.
    """
    if isinstance(sock, ssl.SSLSocket):
        try:
            sock.recv(1)
        except ssl.SSLError as alert:
            return alert if "ALERT" in (alert.reason or "") else error
        except (OSError, ValueError):
            return error
    return error


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
    if isinstance(error, ssl.SSLError) and ("ALERT" in (error.reason or "") or _UNSIGNED in str(error)):
        trouble = Trouble.UNAUTHORIZED
    return RefusedError(f"broker {options.address}: {explain(error)}", trouble)


def explain(error: BaseException) -> str:
    """What an error of the network or of TLS means, without the address."""
    if isinstance(error, ssl.SSLCertVerificationError):
        advice = _VERIFY_ADVICE.get(error.verify_code, "its certificate does not verify")
        return f"{advice} ({error.verify_message})"
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return "it closed the connection during TLS"
    if isinstance(error, ssl.SSLError) and _UNSIGNED in str(error):
        return "our key (mqtt.key) cannot sign the handshake: check its TPM, and that the key is bound to no scheme"
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
    def resolve() -> list[Any]:
        try:
            return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except UnicodeError:
            raise OSError("the host name is not a valid one") from None

    return await run_in_daemon_thread(resolve, "uplink-resolver")


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
    step = functools.partial(_handshake_step, sock)
    try:
        while (wants := await run_in_daemon_thread(step, "uplink-handshake", late=sock.close)) is not _Wants.NOTHING:
            try:
                await _ready(sock, write=wants is _Wants.WRITE)
            except asyncio.CancelledError:
                sock.close()
                raise
    except Exception:
        sock.close()
        raise
    return sock


class _Wants(enum.Enum):
    """What a handshake waits for."""

    NOTHING = enum.auto()
    READ = enum.auto()
    WRITE = enum.auto()


def _handshake_step(sock: ssl.SSLSocket) -> _Wants:
    """As far as it goes; whether it wants to be read or written is no error."""
    try:
        sock.do_handshake()
    except ssl.SSLWantReadError:
        return _Wants.READ
    except ssl.SSLWantWriteError:
        return _Wants.WRITE
    return _Wants.NOTHING


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
