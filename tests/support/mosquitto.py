# SPDX-License-Identifier: Apache-2.0
"""Real mosquitto brokers for tests: plain or TLS, with access rules, stopped, killed, frozen and started again.

Each has a folder of its own and a loopback port that it keeps over restarts. The port is held by a socket that
listens nowhere until the broker takes it, so that no other process of this machine is handed it meanwhile; should
one win the last instant, the start is tried again with another port.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

_STARTS = 5
_START_S = 60.0


def executable() -> str:
    """The broker's path; fails the test where it is not installed, because nothing else proves the promise."""
    found = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/bin:/sbin")
    if found is None:
        pytest.fail("mosquitto is not installed: apt-get install mosquitto")
    return found


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@dataclass(frozen=True)
class Certificates:
    """PEM files made by the openssl command: an authority, the broker's pair, a client's pair."""

    ca: Path
    server: Path
    server_key: Path
    client: Path
    client_key: Path

    @classmethod
    def make(
        cls,
        folder: Path,
        *,
        name: str = "localhost",
        alternatives: str = "DNS:localhost,IP:127.0.0.1",
        days: int = 2,
        client_name: str = "car-1",
    ) -> Certificates:
        """A fresh authority and both pairs; `days` may be 0 for a broker certificate that has expired."""
        folder.mkdir(parents=True, exist_ok=True)
        _openssl("req", "-x509", "-days", "2", *_new_key(folder / "ca"), "-subj", "/CN=canferry test authority")
        names = f"subjectAltName={alternatives}" if alternatives else "extendedKeyUsage=serverAuth"
        _sign(folder, "server", name, names, days)
        _sign(folder, "client", client_name, "extendedKeyUsage=clientAuth", 2)
        pairs = (folder / f"{stem}.{kind}" for stem in ("server", "client") for kind in ("crt", "key"))
        return cls(folder / "ca.crt", *pairs)

    def issue(self, stem: str, *, name: str = "car-1", days: int = 2) -> tuple[Path, Path]:
        """Another client's certificate and key by the same authority."""
        folder = self.ca.parent
        _sign(folder, stem, name, "extendedKeyUsage=clientAuth", days)
        return folder / f"{stem}.crt", folder / f"{stem}.key"

    def sign(self, stem: str, extension: str, *, days: int) -> None:
        """A certificate for the request in `stem`.csr, whoever has its key."""
        _sign_request(self.ca.parent, stem, extension, days)

    def revoke(self, *revoked: Path) -> Path:
        """The authority's list of revoked certificates; of none, to begin with."""
        folder = self.ca.parent
        database = folder / "index.txt"
        database.touch()
        section = f"[ca]\ndefault_ca = a\n[a]\ndatabase = {database}\ndefault_md = sha256\ndefault_crl_days = 2\n"
        (folder / "ca.cnf").write_text(section)
        authority = ["-config", str(folder / "ca.cnf"), "-cert", str(self.ca), "-keyfile", str(folder / "ca.key")]
        for certificate in revoked:
            _openssl("ca", *authority, "-revoke", str(certificate))
        _openssl("ca", *authority, "-gencrl", "-out", str(folder / "revoked.pem"))
        return folder / "revoked.pem"


def _new_key(stem: Path) -> list[str]:
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    return [*curve, "-keyout", f"{stem}.key", "-out", f"{stem}.crt"]


def _sign(folder: Path, stem: str, name: str, extension: str, days: int) -> None:
    key = [
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-keyout",
        f"{folder / stem}.key",
    ]
    _openssl("req", *key, "-out", f"{folder / stem}.csr", "-subj", f"/CN={name}")
    _sign_request(folder, stem, extension, days)


def _sign_request(folder: Path, stem: str, extension: str, days: int) -> None:
    request, extensions = folder / f"{stem}.csr", folder / f"{stem}.ext"
    extensions.write_text(f"{extension}\n")
    signer = ["-CA", f"{folder / 'ca'}.crt", "-CAkey", f"{folder / 'ca'}.key", "-CAcreateserial"]
    files = ["-in", str(request), "-out", f"{folder / stem}.crt", "-extfile", str(extensions)]
    _openssl("x509", "-req", *files, *signer, "-days", str(days))


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)


class Mosquitto:
    """One broker. `port` stays the same from the first start to the last.

    It is reached at `host`, listens at `address`, where that is another one, and is started by a command `within`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        config: Sequence[str] = (),
        acl: str | None = None,
        users: dict[str, str] | None = None,
        tls: Certificates | None = None,
        client_certificates: bool = False,
        host: str = "127.0.0.1",
        address: str = "",
        within: Sequence[str] = (),
    ) -> None:
        self.host = host
        self._address = address or host
        self._within = within
        self.folder = folder
        self.port = free_port()
        self._config = list(config)
        self._acl = acl
        self._users = users
        self._tls = tls
        self._client_certificates = client_certificates
        self._process: asyncio.subprocess.Process | None = None

    @property
    def log(self) -> str:
        """What the broker has logged so far."""
        path = self.folder / "mosquitto.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def url(self) -> str:
        """As the configuration's `mqtt.broker`."""
        return f"{'mqtts' if self._tls else 'mqtt'}://{self.host}:{self.port}"

    async def start(self) -> None:
        """Return once it accepts connections; `port` may change at the very first start only."""
        first = not (self.folder / "started").exists()
        for _ in range(_STARTS):
            self._write()
            with (self.folder / "mosquitto.log").open("ab") as output:
                self._process = await asyncio.create_subprocess_exec(
                    *self._within, executable(), "-c", str(self.folder / "mosquitto.conf"), stdout=output, stderr=output
                )
            if await self._listens():
                (self.folder / "started").touch()
                return
            if first:
                self.port = free_port()
        pytest.fail(f"mosquitto does not start: {self.log[-2000:]}")

    async def stop(self) -> None:
        """In good order: the broker saves what it keeps."""
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """At once."""
        await self._end(signal.SIGKILL)

    async def restart(self) -> None:
        """Stop, then start on the same port."""
        await self.stop()
        await self.start()

    def reload(self) -> None:
        """Read the access rules and passwords anew."""
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)

    def raise_limit(self, old: int, new: int) -> None:
        """Of the options that it was made with; from the next start."""
        self._config = [line.replace(str(old), str(new)) for line in self._config]

    def freeze(self) -> None:
        """The process stands still while its kernel goes on acknowledging TCP."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Go on after `freeze`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    async def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, how)
            os.kill(process.pid, signal.SIGCONT)
        await process.wait()

    async def _listens(self) -> bool:
        assert self._process is not None
        deadline = asyncio.get_running_loop().time() + _START_S
        while asyncio.get_running_loop().time() < deadline and self._process.returncode is None:
            try:
                _, writer = await asyncio.open_connection(self.host, self.port)
            except OSError:
                await asyncio.sleep(0.01)
                continue
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            return self._process.returncode is None
        return False

    def _write(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        lines = [f"listener {self.port} {self._address}", "log_type all", "connection_messages true", "user root"]
        lines.append(f"allow_anonymous {'false' if self._users else 'true'}")
        if self._users:
            lines.append(f"password_file {self._passwords(self._users)}")
        if self._acl is not None:
            (self.folder / "acl").write_text(self._acl)
            lines.append(f"acl_file {self.folder / 'acl'}")
        if self._tls is not None:
            lines += [
                f"certfile {self._tls.server}",
                f"keyfile {self._tls.server_key}",
                f"cafile {self._tls.ca}",
            ]
        if self._client_certificates:
            lines += ["require_certificate true", "use_identity_as_username true"]
        (self.folder / "mosquitto.conf").write_text("\n".join([*lines, *self._config]) + "\n")

    def _passwords(self, users: dict[str, str]) -> Path:
        path = self.folder / "passwords"
        path.write_text("".join(f"{user}:{secret}\n" for user, secret in users.items()))
        subprocess.run(["mosquitto_passwd", "-U", str(path)], check=True, capture_output=True)
        return path


@contextlib.asynccontextmanager
async def running(folder: Path, **options: object) -> AsyncIterator[Mosquitto]:
    """A broker that runs inside the `async with`; takes the options of `Mosquitto`."""
    broker = Mosquitto(folder, **options)  # type: ignore[arg-type]
    await broker.start()
    try:
        yield broker
    finally:
        await broker.kill()
