"""WebSocket servers for tests, spoken by hand so that each may misbehave in its own way."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha1
from pathlib import Path

import pytest

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
_ACCEPT_KEY = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, size: int | None = None) -> bytes:
    """A server's frame; `size` announces another length than that of the payload."""
    size = len(payload) if size is None else size
    head = bytes([opcode | (0x80 if fin else 0)])
    if size < 126:
        head += bytes([size])
    elif size < 65536:
        head += bytes([126]) + size.to_bytes(2)
    else:
        head += bytes([127]) + size.to_bytes(8)
    return head + payload


def close_frame(code: int, reason: str = "") -> bytes:
    return frame(CLOSE, code.to_bytes(2) + reason.encode())


@dataclass
class Talk:
    """One TCP connection to a peer, from the peer's side."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def request(self) -> str:
        """The client's handshake."""
        return (await self.reader.readuntil(b"\r\n\r\n")).decode()

    async def write(self, *data: bytes) -> None:
        self.writer.writelines(data)
        await self.writer.drain()

    async def answer(self, status: int, *headers: str) -> str:
        """Answer the handshake with a status other than 101."""
        request = await self.request()
        await self.write("\r\n".join([f"HTTP/1.1 {status} x", "Content-Length: 0", *headers, "", ""]).encode())
        return request

    async def accept(self) -> str:
        """Shake hands."""
        request = await self.request()
        self.shake(request)
        return request

    def shake(self, request: str, *headers: str) -> None:
        key = next(line.split(": ")[1] for line in request.split("\r\n") if line.startswith("Sec-WebSocket-Key"))
        proof = b64encode(sha1((key + _ACCEPT_KEY).encode()).digest()).decode()
        head = ["HTTP/1.1 101 x", "Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Accept: {proof}"]
        self.writer.write("\r\n".join([*head, *headers, "", ""]).encode())

    async def read_frame(self) -> tuple[int, bytes]:
        """The client's next frame: opcode and payload."""
        first, second = await self.reader.readexactly(2)
        size = second & 0x7F
        if size >= 126:
            size = int.from_bytes(await self.reader.readexactly(2 if size == 126 else 8))
        mask = await self.reader.readexactly(4)
        payload = await self.reader.readexactly(size)
        return first & 0xF, bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))

    async def read_until(self, wanted: int) -> bytes:
        """The payload of the client's next frame of this opcode; pings on the way are answered."""
        while True:
            opcode, payload = await self.read_frame()
            if opcode == wanted:
                return payload
            if opcode == PING:
                await self.write(frame(PONG, payload))

    async def read_until_pings(self, count: int) -> list[bytes]:
        """The payloads of the client's next pings, unanswered."""
        payloads: list[bytes] = []
        while len(payloads) < count:
            opcode, payload = await self.read_frame()
            if opcode == PING:
                payloads.append(payload)
        return payloads

    async def until_closed(self) -> int | None:
        """Behave until the client goes: its close code, None if it just went."""
        try:
            payload = await self.read_until(CLOSE)
        except (OSError, asyncio.IncompleteReadError):
            return None
        with suppress(OSError):
            await self.write(frame(CLOSE, payload))
        return int.from_bytes(payload[:2])

    async def until_gone(self) -> None:
        """Read without answering until the client ends the connection."""
        with suppress(OSError):
            while await self.reader.read(65536):
                pass


@dataclass
class Peer:
    """A server: where it listens, and how often it was dialled."""

    talk: Callable[[Talk], Awaitable[object]]
    port: int = 0
    host: str = "127.0.0.1"
    dials: int = 0
    gone: int = 0
    results: list[object] = field(default_factory=list)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"ws://{self.host}:{self.port}/"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.dials += 1
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        try:
            self.results.append(await self.talk(Talk(reader, writer)))
        except (OSError, EOFError):
            pass
        except asyncio.CancelledError:
            pass  # the test is over
        finally:
            self.gone += 1
            self.tasks.discard(task)
            writer.transport.abort()


@asynccontextmanager
async def listening(
    talk: Callable[[Talk], Awaitable[object]],
    *,
    tls: ssl.SSLContext | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
) -> AsyncIterator[Peer]:
    """Serve on a loopback address; what `talk` returns is kept in `results`."""
    peer = Peer(talk, host=host)
    server = await asyncio.start_server(peer.serve, host, port, ssl=tls)
    peer.port = server.sockets[0].getsockname()[1]
    try:
        yield peer
    finally:
        server.close()
        for task in list(peer.tasks):
            task.cancel()
        if peer.tasks:
            await asyncio.wait(list(peer.tasks))
        await server.wait_closed()


async def behave(talk: Talk) -> int | None:
    """A well-behaved peer that says nothing."""
    await talk.accept()
    return await talk.until_closed()


@dataclass(frozen=True)
class Certificate:
    """A self-signed certificate for localhost and 127.0.0.1."""

    path: Path

    def server(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.path)
        return context

    @property
    def public(self) -> str:
        """Without its key (PEM)."""
        _, begin, rest = self.path.read_text().partition("-----BEGIN CERTIFICATE-----")
        return begin + rest

    def trusting_client(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.path))


def make_certificate(folder: Path) -> Certificate:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.fail("the openssl command is missing; install it (apt-get install openssl) to run the tests of TLS")
    path = folder / "certificate.pem"
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", str(path)]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    made = subprocess.run([openssl, "req", "-x509", *key, "-days", "2", *names], capture_output=True, check=True)
    with path.open("ab") as file:
        file.write(made.stdout)
    return Certificate(path)


_CA = """
[ca]
default_ca = self
[self]
database = index
rand_serial = yes
new_certs_dir = .
default_md = sha256
policy = any
copy_extensions = copy
x509_extensions = own
[own]
basicConstraints = CA:TRUE
[any]
commonName = supplied
"""


def expired_certificate(folder: Path) -> Certificate:
    """One whose time was a day of 2020: only `openssl ca` makes such."""
    certificate = make_certificate(folder)
    (folder / "ca.conf").write_text(_CA)
    (folder / "index").touch()
    names = ["-subj", "/CN=expired", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    key = str(certificate.path)
    asked = ["openssl", "req", "-new", "-key", key, *names, "-out", "request.pem"]
    signed = ["openssl", "ca", "-batch", "-notext", "-config", "ca.conf", "-selfsign", "-keyfile", key]
    dates = ["-startdate", "20200101000000Z", "-enddate", "20200102000000Z", "-in", "request.pem", "-out", "signed.pem"]
    for command in (asked, [*signed, *dates]):
        subprocess.run(command, cwd=folder, capture_output=True, check=True)
    private = certificate.path.read_text().partition("-----BEGIN CERTIFICATE")[0]
    certificate.path.write_text(private + (folder / "signed.pem").read_text())
    return certificate


async def until(condition: Callable[[], object], what: str, patience_s: float = 20) -> None:
    """Poll until something holds."""
    try:
        async with asyncio.timeout(patience_s):
            while not condition():
                await asyncio.sleep(0.005)
    except TimeoutError:
        pytest.fail(f"not within {patience_s:g} s: {what}")
