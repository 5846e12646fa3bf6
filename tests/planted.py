"""A planted secret, a peer that repeats it wherever it can, and the search for it in all that anybody may see."""

from __future__ import annotations

from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote, quote_plus

import orjson

from tests.peers import TEXT, Talk, close_frame, frame

SECRET = 'pl4nt/"ed"+s&cr=t\\%21'
FRESH = "fr3sh/t0ken+of&the=call"
BROKEN = "brok3n\r\nX-Evil: s3cret"


def forms(secret: str) -> set[bytes]:
    """As it is, and as it looks in JSON, in JSON within JSON, in a URL, in base64 wherever it begins, and in hex."""
    once = orjson.dumps(secret)[1:-1]
    twice = orjson.dumps(once.decode())[1:-1]
    found = {secret.encode(), once, twice, quote(secret, safe="").encode(), quote(secret).encode()}
    found |= {quote_plus(secret).encode(), secret.encode().hex().encode()}
    for encode in (b64encode, urlsafe_b64encode):
        for shift in range(3):
            # The first and the last characters depend on what stands beside it.
            text = encode(b"x" * shift + secret.encode())
            found.add(text[4 if shift else 0 : (len(secret) + shift) // 3 * 4])
    return found


def search(where: dict[str, bytes], secrets: Iterable[str] = (SECRET, FRESH, BROKEN)) -> list[str]:
    """Every place that holds a form of one of these."""
    return [
        f"{name}: {form!r}"
        for name, content in where.items()
        for secret in secrets
        for form in forms(secret)
        if form in content
    ]


def files_in(folder: Path) -> dict[str, bytes]:
    """The content of all files."""
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class Parrot:
    """A server that repeats the secret in each way to refuse, before it behaves. `heard`: what it was told."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.dials = 0

    async def talk(self, talk: Talk) -> None:
        self.dials += 1
        await [self._refuse, self._redirect, self._close, self._close_encoded, self._behave][min(self.dials, 5) - 1](
            talk
        )

    async def _refuse(self, talk: Talk) -> None:
        request = await talk.request()
        self.heard.append(request)
        body = f"no such token: {SECRET}".encode()
        head = f"HTTP/1.1 401 {SECRET}\r\nX-Echo: {SECRET}\r\nContent-Length: {len(body)}\r\n\r\n"
        await talk.write(head.encode() + body)

    async def _redirect(self, talk: Talk) -> None:
        self.heard.append(await talk.answer(302, f"Location: wss://evil.example/?token={quote(SECRET, safe='')}"))

    async def _close(self, talk: Talk) -> None:
        await self._listen(talk)
        await talk.write(close_frame(1008, f"bad token {SECRET}"))
        await talk.until_gone()

    async def _close_encoded(self, talk: Talk) -> None:
        await self._listen(talk)
        await talk.write(close_frame(1011, f"{quote(SECRET, safe='')} {b64encode(SECRET.encode()).decode()}"))
        await talk.until_gone()

    async def _behave(self, talk: Talk) -> None:
        await self._listen(talk)
        await talk.write(frame(TEXT, b"hello"))
        await talk.until_closed()

    async def _listen(self, talk: Talk) -> None:
        self.heard.append(await talk.accept())
        self.heard.append((await talk.read_until(TEXT)).decode())


class FreshParrot:
    """A server that repeats the header which it got from a prepare call, at first."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    async def talk(self, talk: Talk) -> None:
        self.heard.append(await talk.accept())
        if len(self.heard) == 1:
            await talk.write(close_frame(1008, f"bad token {FRESH}"))
            await talk.until_gone()
        await talk.until_closed()


class PrepareServer:
    """Tells a fresh header; each second answer is of no use and holds the secret."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    async def talk(self, talk: Talk) -> None:
        self.heard.append(await talk.request())
        answers = [orjson.dumps({"headers": {"X-Fresh": FRESH}}), orjson.dumps({"url": f"https://{SECRET}/"})]
        body = answers[(len(self.heard) - 1) % 2]
        await talk.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)


def connections(parrot: str, other: str, prepare: str, store: str) -> list[dict[str, object]]:
    """Connections whose options use secrets in every place, and some for which they go wrong."""
    quick = {"reconnectBaseDelayS": 0.01, "reconnectMaxDelayS": 0.02, "reconnectAttempts": 8, "refusedAttempts": 9}
    secrets = {"token": {"secret": f"{store}/token"}}
    everywhere: dict[str, object] = {
        "secrets": secrets,
        "headers": {"Authorization": "Bearer ${token}", "X-Key": {"secret": f"{store}/token"}},
        "openingMessages": ['{"login": "${token}"}'],
    }
    prepared = {"url": f"{prepare}?key=${{token}}", "headers": {"X-Key": {"secret": f"{store}/token"}}}
    proxy = {"url": "http://127.0.0.1:1", "authorization": "Basic ${token}"}
    wrong: dict[str, dict[str, object]] = {
        "missing": {"headers": {"X-Key": {"secret": f"{store}/absent"}}},
        "forbidden": {"headers": {"X-Key": {"secret": f"{store}/not-for-us"}}},
        "broken": {"headers": {"X-Key": {"secret": f"{store}/broken"}}},
        "proxied": {"secrets": secrets, "proxy": proxy},
        "no-pem": {"tls": {"ca": {"secret": f"{store}/token"}}},
        "prepared": {"secrets": secrets, "prepare": prepared},
    }
    urls = {"no-pem": "wss://127.0.0.1:1/", "prepared": other}
    bodies: list[dict[str, object]] = [
        {"id": "everywhere", "url": f"{parrot}${{token}}?token=${{token}}", "options": {**quick, **everywhere}}
    ]
    bodies += [
        {"id": id_, "url": urls.get(id_, parrot), "options": {**quick, **options}} for id_, options in wrong.items()
    ]
    return [{**body, "topic": "prices", "autoReconnect": True} for body in bodies]
