"""A tunnel through an HTTP proxy (RFC 9110, 9.3.6), on a socket that is connected to it."""

from __future__ import annotations

import asyncio
import re
import socket

from runtime.adapters.retry_after import retry_after_s
from runtime.failure import DialError, Failure, FailureKind, classify_status
from runtime.sources import Proxy
from runtime.urls import Endpoint

MAX_ANSWER_BYTES = 16 * 1024
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: [^\r\n]*)?")


async def open_tunnel(sock: socket.socket, endpoint: Endpoint, proxy: Proxy) -> None:
    """Ask for a tunnel and wait for it; the caller bounds the time. Raises DialError."""
    try:
        await asyncio.get_running_loop().sock_sendall(sock, _request(endpoint, proxy))
        head = await _read_head(sock)
    except OSError:
        raise _failed(FailureKind.TRANSIENT, "hung up") from None
    lines = head.split(b"\r\n")
    found = _STATUS.fullmatch(lines[0])
    if found is None:
        raise _failed(FailureKind.TRANSIENT, "gave an answer that is no HTTP")
    status = int(found[1])
    if not 200 <= status < 300:
        failure = classify_status(status, retry_after_s(_header(lines, b"retry-after")))
        raise _failed(failure.kind, f"answered HTTP {status}", failure.retry_after_s)


def _request(endpoint: Endpoint, proxy: Proxy) -> bytes:
    where = f"{endpoint.host_in_url}:{endpoint.port}"
    lines = [f"CONNECT {where} HTTP/1.1", f"Host: {where}"]
    if proxy.authorization is not None:
        lines.append(f"Proxy-Authorization: {proxy.authorization}")
    return "\r\n".join([*lines, "", ""]).encode()


async def _read_head(sock: socket.socket) -> bytes:
    """Up to the empty line. In the tunnel we speak first: what comes at once with the head is from nobody."""
    loop = asyncio.get_running_loop()
    head = b""
    while b"\r\n\r\n" not in head:
        data = await loop.sock_recv(sock, MAX_ANSWER_BYTES)
        if not data:
            raise _failed(FailureKind.TRANSIENT, "hung up")
        head += data
        if len(head) > MAX_ANSWER_BYTES:
            raise _failed(FailureKind.TRANSIENT, "gave an answer without end")
    lines, _, rest = head.partition(b"\r\n\r\n")
    if rest and lines.startswith((b"HTTP/1.1 2", b"HTTP/1.0 2")):
        raise _failed(FailureKind.TRANSIENT, "sent more than an answer")
    return lines


def _header(lines: list[bytes], name: bytes) -> str | None:
    found = (line.partition(b":")[2] for line in lines[1:] if line.partition(b":")[0].strip().lower() == name)
    value = next(found, None)
    return value.decode("latin-1") if value is not None else None


def _failed(kind: FailureKind, what: str, retry_after_s: float = 0) -> DialError:
    return DialError(Failure(kind, f"the proxy {what}", retry_after_s))
