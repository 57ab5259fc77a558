# SPDX-License-Identifier: Apache-2.0
"""A TPM 2.0 in software (swtpm) behind its resource manager (tpm2-abrmd), with keys that nothing else can use.

    async with Tpm(folder).running() as tpm:
        certificate, key = await tpm.issue(certificates, "car", name="car-1")

Keys are made as `systemd/README.md` says. Who uses them finds the TPM by `environment`: a system bus of its own.
Sockets lie in a folder of their own, because the path of one has 107 bytes at most.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration.modemmanager import Bus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.mosquitto import Certificates

START_S = 60.0
TOOLS = ("swtpm", "tpm2-abrmd", "tpm2_create")
MARK = "-----BEGIN TSS2 PRIVATE KEY-----"
PARENT = "0x81000001"
SRK = "restricted|decrypt|fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda"
SIGNING = "sign|fixedtpm|fixedparent|sensitivedataorigin|userwithauth|noda"
PROVIDER = ("-provider", "tpm2", "-provider", "default", "-propquery", "?provider=tpm2")


class Tpm:
    """`stop` and `start` are a TPM that is not there for a while; its keys stay in its folder."""

    def __init__(self, folder: Path) -> None:
        if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
            packages = "swtpm tpm2-abrmd tpm2-tools tpm2-openssl libtss2-tcti-swtpm0 libtss2-tcti-tabrmd0"
            pytest.fail(f"missing: {', '.join(missing)}; apt-get install {packages}")
        self._folder = folder
        self._place = Path(tempfile.mkdtemp(prefix="tpm-"))
        self._bus = Bus(self._place)
        self._processes: list[asyncio.subprocess.Process] = []

    @property
    def environment(self) -> dict[str, str]:
        """Where the TPM is found."""
        return {"DBUS_SYSTEM_BUS_ADDRESS": self._bus.address, "TSS2_LOG": "all+NONE"}

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Tpm]:
        """Made anew, with a key that keeps others."""
        self._folder.mkdir(parents=True)
        try:
            await self.start()
            parent = str(self._folder / "parent")
            await self._run("tpm2_createprimary", "-Q", "-C", "o", "-G", "ecc", "-a", SRK, "-c", parent)
            await self._run("tpm2_evictcontrol", "-Q", "-C", "o", "-c", parent, PARENT)
            yield self
        finally:
            await self.stop()
            shutil.rmtree(self._place)

    async def start(self) -> None:
        """Return once it answers."""
        await self._bus.start()
        socket = self._place / "tpm"
        command = ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={self._folder}", "--flags", "not-need-init"]
        command += ["--server", f"type=unixio,path={socket}", "--ctrl", f"type=unixio,path={socket}.ctrl"]
        await self._begin(*command)
        async with asyncio.timeout(START_S):
            while not socket.exists() or not socket.with_suffix(".ctrl").exists():
                await asyncio.sleep(0.01)
            await self._begin("tpm2-abrmd", "--allow-root", f"--tcti=swtpm:path={socket}")
            while await self._ended("tpm2_getcap", "properties-fixed"):
                await asyncio.sleep(0.02)

    async def stop(self) -> None:
        """In good order, as at a shutdown: the manager tells the TPM."""
        for process in reversed(self._processes):
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
                process.terminate()
            await process.wait()
        self._processes.clear()
        await self._bus.stop()

    def freeze(self) -> None:
        """It takes in what is asked and answers nothing."""
        self._processes[0].send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Go on after `freeze`."""
        self._processes[0].send_signal(signal.SIGCONT)

    async def issue(
        self, authority: Certificates, stem: str, *, name: str, kind: str = "ecc:ecdsa"
    ) -> tuple[Path, Path]:
        """A key that the TPM makes, and a certificate for it."""
        certificate, key = authority.ca.parent / f"{stem}.crt", authority.ca.parent / f"{stem}.key"
        parts = ["-u", str(self._folder / "public"), "-r", str(self._folder / "private")]
        await self._run("tpm2_create", "-Q", "-C", PARENT, "-G", kind, "-a", SIGNING, *parts)
        await self._run("tpm2_encodeobject", "-Q", "-C", PARENT, *parts, "-o", str(key))
        request = ["-key", str(key), "-passin", "pass:", "-subj", f"/CN={name}", "-out", f"{key.with_suffix('.csr')}"]
        await self._run("openssl", "req", *PROVIDER, "-new", *request)
        assert key.read_text().startswith(MARK)
        await asyncio.to_thread(authority.sign, stem, "extendedKeyUsage=clientAuth", days=2)
        return certificate, key

    async def _begin(self, *command: str) -> None:
        self._processes.append(
            await asyncio.create_subprocess_exec(
                *command, env=os.environ | self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
        )

    async def _run(self, *command: str) -> None:
        ended = await self._ended(*command)
        assert not ended, f"{' '.join(command)}: {ended}"

    async def _ended(self, *command: str) -> str:
        """ "" where it succeeded."""
        process = await asyncio.create_subprocess_exec(
            *command, env=os.environ | self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        _, said = await process.communicate()
        return said.decode() or f"status {process.returncode}" if process.returncode else ""
