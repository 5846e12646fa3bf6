"""TLS contexts: one for all dials that ask for nothing of their own, one for each distinct set of TLS options."""

from __future__ import annotations

import os
import ssl
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from hashlib import sha256
from tempfile import NamedTemporaryFile

from runtime.failure import DialError, Failure, FailureKind
from runtime.sources import TlsMaterial

MAX_CONTEXTS = 256
_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


@cache
def default_tls() -> ssl.SSLContext:
    """One context for all: each costs half a megabyte."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


class TlsContexts:
    """Makes contexts and keeps those used last. It knows them by a digest, so that no key is kept as text."""

    def __init__(self) -> None:
        self._kept: OrderedDict[bytes, ssl.SSLContext] = OrderedDict()

    def context(self, material: TlsMaterial) -> ssl.SSLContext:
        """The context for these. Raises DialError, whose text holds nothing of them."""
        parts = (material.ca, material.certificate, material.key, material.minimum_version)
        if parts[:3] == (None, None, None) and material.minimum_version == "1.2":
            return default_tls()
        digest = sha256("\0".join(part or "" for part in parts).encode()).digest()
        context = self._kept.get(digest)
        if context is None:
            context = self._kept[digest] = _make(material)
            if len(self._kept) > MAX_CONTEXTS:
                self._kept.popitem(last=False)
        self._kept.move_to_end(digest)
        return context


def _make(material: TlsMaterial) -> ssl.SSLContext:
    if material.ca is not None and not material.ca.strip():  # for which Python would trust the system's
        raise _unusable("tls.ca")
    try:
        context = ssl.create_default_context(cadata=material.ca)
    except (ssl.SSLError, ValueError):
        raise _unusable("tls.ca") from None
    context.minimum_version = _VERSIONS[material.minimum_version]
    if material.certificate is not None and material.key is not None:
        pem = f"{material.certificate.strip()}\n{material.key.strip()}\n"
        try:
            with _as_file(pem.encode()) as path:
                context.load_cert_chain(path, password=_no_password)
        except (ssl.SSLError, ValueError):
            raise _unusable("tls.certificate with tls.key") from None
    return context


def _unusable(what: str) -> DialError:
    return DialError(Failure(FailureKind.REFUSED, f"{what} cannot be used: not PEM, or not a pair"))


def _no_password() -> str:
    """Else OpenSSL would ask on the terminal."""
    return ""


@contextmanager
def _as_file(content: bytes) -> Iterator[str]:
    """A path for what takes nothing else: in memory where the system can, else a file that only we can read."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("tls", os.MFD_CLOEXEC)
        try:
            os.write(descriptor, content)
            yield f"/proc/self/fd/{descriptor}"
        finally:
            os.close(descriptor)
    else:  # pragma: no cover - not on Linux
        with NamedTemporaryFile() as file:
            file.write(content)
            file.flush()
            yield file.name
