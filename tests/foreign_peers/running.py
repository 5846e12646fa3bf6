"""WebSocket servers on libraries that are not ours, as processes for tests.

All echo what they get, speak the subprotocol `feed.v2`, compress when they are asked to, and print
`{"path": …, "code": …}` when a connection has ended. Before the echo, by path:

- `/echo`: nothing.
- `/hello`: a text, JSON: `subprotocol` is the one in use, `offered` the extensions that the client has offered.
- `/ping`: a ping; when its pong has come, the text "pong: are you there".
- `/fragments`: TEXT, then BINARY, each in fragments of about a kilobyte, which cut characters in two.
- `/close?code=&reason=`: the text "last", then a close frame.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from websockets.typing import Subprotocol

from tests.processes import Process, free_ports, is_open

SUBPROTOCOL = Subprotocol("feed.v2")
TEXT = "žluťoučký kůň " * 1000
BINARY = b"\xff" * 10_000
_HERE = Path(__file__).parent
BUILD = _HERE / "build.sh"


@cache
def built() -> Path:
    """The folder of the peers that are built. Fails with what is missing."""
    build = subprocess.run([BUILD], capture_output=True, text=True, check=False)
    assert build.returncode == 0, build.stderr
    return Path(build.stdout.strip())


COMMANDS = {
    "aiohttp": lambda: [sys.executable, "-u", str(_HERE / "aiohttp_peer.py")],
    "uvicorn": lambda: [sys.executable, "-u", str(_HERE / "uvicorn_peer.py")],
    "ws": lambda: ["node", str(built() / "peer.js")],
    "gorilla": lambda: [str(built() / "gorilla")],
    "coder": lambda: [str(built() / "coder")],
}
FRAGMENTING = ("ws", "gorilla", "coder")
"""The others have no way to send a message in fragments."""


class ForeignPeer(Process):
    """A running server."""

    def __init__(self, name: str, folder: Path) -> None:
        (self.port,) = free_ports(1)
        command = [*COMMANDS[name](), str(self.port)]
        super().__init__(name, command, folder, lambda: is_open(self.port))

    def url(self, path: str) -> str:
        """Of a path."""
        return f"ws://127.0.0.1:{self.port}{path}"

    def codes(self, path: str) -> list[int]:
        """The codes with which connections to a path have ended."""
        ends = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [end["code"] for end in ends if end["path"] == path]


@contextmanager
def foreign_peer(name: str, folder: Path) -> Iterator[ForeignPeer]:
    """One that runs."""
    peer = ForeignPeer(name, folder)
    peer.start()
    try:
        yield peer
    finally:
        peer.kill()
