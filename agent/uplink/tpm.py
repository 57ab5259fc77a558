# SPDX-License-Identifier: Apache-2.0
"""Keys in a TPM: their files, and OpenSSL's provider for them (tpm2-openssl), loaded when the first one is met.

Such a key has a file as any other (PEM, "TSS2 PRIVATE KEY"), but what it holds only the TPM that made it can use. The
provider can be named in the file of OPENSSL_CONF. That is read once, when the process starts, and a TPM whose driver
comes later would never be found; hence it is loaded here, by OpenSSL's own functions in this process.

All that is no such key stays with OpenSSL's default provider: for what a processor does in a microsecond a TPM takes
milliseconds. Before version 1.2 the provider claims to export such a key, OpenSSL then signs with what it gets and
fails (tpm2-openssl, issue 81); there all signatures have to go to the TPM, the broker's among them, which needs a
resource manager (tpm2-abrmd) and fails with keys that the TPM does not know, such as RSA of 4096 bits.

Limits: a Python with its OpenSSL built in, instead of as a library, needs OPENSSL_CONF. A TPM has room for three keys
at once, parents counted: whoever loads one lets go of it soon. The provider opens the TPM once: where a daemon stands
between the two and restarts, so must the agent.
Failure: False where it is not there, or does not reach the TPM.
"""

from __future__ import annotations

import ctypes
import os
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_MARK = b"-----BEGIN TSS2 PRIVATE KEY-----"
"""As tpm2-openssl and tpm2-tools write it: ASN.1 Specification for TPM 2.0 Key Files, J. Bottomley, 3.1."""
_UTF8_PTR = 6
_SOUND = (1, 2)


def is_in_tpm(key: Path) -> bool:
    """Whether this file's key is a TPM's."""
    return _MARK in key.read_bytes()


def load_provider() -> bool:
    """Let this process' OpenSSL use such keys; blocks for the TPM."""
    import _ssl

    os.environ.setdefault("TSS2_LOG", "all+NONE")  # it writes to stderr, some lines for each way that it tries
    try:
        openssl = ctypes.CDLL(_ssl.__file__)
        prefer, load = openssl.EVP_set_default_properties, openssl.OSSL_PROVIDER_try_load
    except (AttributeError, OSError):
        return False
    load.argtypes, load.restype = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int], ctypes.c_void_p
    provider = load(None, b"tpm2", 1)
    if not provider:
        return False
    prefer.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    sound = _version(openssl, provider) >= _SOUND
    return bool(prefer(None, b"?provider!=tpm2" if sound else b"?tpm2.signature=yes"))


class _Parameter(ctypes.Structure):
    """OSSL_PARAM (openssl/core.h)."""

    _fields_ = (
        ("key", ctypes.c_char_p),
        ("data_type", ctypes.c_uint),
        ("data", ctypes.c_void_p),
        ("data_size", ctypes.c_size_t),
        ("return_size", ctypes.c_size_t),
    )


def _version(openssl: ctypes.CDLL, provider: int) -> tuple[int, ...]:
    """The first two numbers; none where it does not tell."""
    text = ctypes.c_char_p()
    wanted = (_Parameter * 2)(_Parameter(b"version", _UTF8_PTR, ctypes.addressof(text), 0, 0))
    ask = openssl.OSSL_PROVIDER_get_params
    ask.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
    ask(provider, ctypes.byref(wanted))
    return tuple(map(int, re.findall(rb"\d+", text.value or b"")[:2]))
