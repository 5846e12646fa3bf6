"""A reader that takes little at a time, and messages cut in any way, for tests of reading."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from random import Random

from runtime.adapters.sockets import WebSocketSocket
from runtime.failure import SocketLost
from tests.peers import BINARY, PING, TEXT, frame

LETTERS = "aß語🙂\n"


class Reader:
    """Takes at most so many messages at a time, and leaves the others until there is room."""

    def __init__(self, live: WebSocketSocket, room: Callable[[], int]) -> None:
        self.live, self.room = live, room
        self.taken: list[str | bytes] = []
        self.pauses = 0
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()

    def take(self, messages: deque[str | bytes]) -> None:
        assert messages, "called for nothing"
        for _ in range(min(self.room(), len(messages))):
            self.taken.append(messages.popleft())

    async def until_room(self) -> None:
        self.pauses += 1
        await asyncio.sleep(0)
        await self.may_go_on.wait()

    async def run(self) -> SocketLost:
        async with asyncio.timeout(60):
            try:
                await self.live.receive(self.take, self.until_room)
            except SocketLost as end:
                return end
        raise AssertionError("reading has ended without a reason")


def mixed_messages(chance: Random, count: int) -> Iterator[str | bytes]:
    """Of all sizes, the text of letters of one to four bytes."""
    for number in range(count):
        size = chance.choice([0, 1, 5, 60, 130, 700, 40_000 if number % 50 == 0 else 2])
        text = f"{number} " + "".join(chance.choices(LETTERS, k=size))
        yield text.encode() if chance.random() < 0.3 else text


def on_the_wire(chance: Random, message: str | bytes) -> bytes:
    """One message as one frame or as several, cut anywhere, with pings between them."""
    data = message.encode() if isinstance(message, str) else message
    cuts = sorted(chance.choices(range(len(data) + 1), k=chance.choice([0, 0, 0, 1, 3])))
    pieces = [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    opcode = TEXT if isinstance(message, str) else BINARY
    frames = [frame(0 if n else opcode, piece, fin=n == len(pieces) - 1) for n, piece in enumerate(pieces)]
    return b"".join(one + (frame(PING, b"?") if chance.random() < 0.1 else b"") for one in frames)
