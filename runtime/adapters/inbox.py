"""Reading with the websockets library: all messages that one read from the network brings, handed over at once."""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial
from typing import NoReturn

from typing_extensions import override
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.messages import MAX_FRAGMENTS, Assembler
from websockets.exceptions import TooManyFragments
from websockets.frames import Frame, Opcode

from runtime.adapters.turns import Turns
from runtime.failure import Failure, FailureKind, SocketLost
from runtime.ports import Take

PORTION_BYTES = 16 * 1024
_PORTION = memoryview(bytearray(PORTION_BYTES))  # for all: what was read is copied out before anything else is read


class Portions(asyncio.BufferedProtocol):
    """Between transport and library: reads portions, and lets all others read after each that was full.

    Without it one peer at full speed is read by uvloop until it has nothing more, up to eight megabytes at once, and
    all other work of the process waits for 0.2 s again and again (measured).
    """

    def __init__(self, connection: ClientConnection, inbox: Inbox, turns: Turns) -> None:
        self._connection, self._inbox, self._turns = connection, inbox, turns

    @override
    def get_buffer(self, sizehint: int) -> memoryview:
        return _PORTION

    @override
    def buffer_updated(self, nbytes: int) -> None:
        self._connection.data_received(bytes(_PORTION[:nbytes]))
        protocol = self._connection.protocol
        is_partial = bool(protocol.reader.buffer) or protocol.current_size is not None
        self._inbox.deliver(is_greedy=nbytes == PORTION_BYTES, is_partial=is_partial)

    @override
    def eof_received(self) -> bool:
        """In turn, since thousands may end at once. True: do not close yet; a TLS connection does so in any case."""
        self._turns.call(self._end)
        return self._connection.transport.get_extra_info("ssl_object") is None

    def _end(self) -> None:
        self._connection.eof_received()
        self._connection.transport.close()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._turns.call(partial(self._connection.connection_lost, exc))

    @override
    def pause_writing(self) -> None:
        self._connection.pause_writing()

    @override
    def resume_writing(self) -> None:
        self._connection.resume_writing()


class Inbox(Assembler):
    """In the place of the library's own, which wakes a task for each message: that costs as much as parsing it.

    Whole messages wait here, decoded, until `feed` has handed them over. While some do, nothing is read from the
    network, so that they are never more than one read has brought.
    """

    def __init__(self, transport: asyncio.Transport, max_fragments: int = MAX_FRAGMENTS) -> None:
        # Not that of the library, which makes what is never used here.
        self.pause, self.resume = transport.pause_reading, transport.resume_reading
        self.paused = self.closed = False
        self._loop = asyncio.get_running_loop()
        self._messages: deque[str | bytes] = deque()
        self._fragments: list[Frame] = []
        self._failure: Exception | None = None
        self._take: Take | None = None
        self._stuck: asyncio.Future[None] | None = None  # done when `feed` has to look
        self._assembly_s = 0.0
        self._max_fragments = max_fragments
        self._begun: float | None = None  # when the message that is not whole yet was begun
        self._watching: asyncio.TimerHandle | None = None

    @property
    def has_reader(self) -> bool:
        """Whether a task waits for messages."""
        return self._take is not None

    def limit_assembly(self, seconds: float) -> None:
        """End the socket over a message that is not whole so long after it has begun; 0: it may take for ever.

        Time in which nothing is read does not count.
        """
        self._assembly_s = seconds
        if self._begun is not None:
            self._begin()

    async def feed(self, take: Take) -> bool:
        """Hand over messages as they come. True as soon as some are left; False when no more will come: see `get`."""
        if self._begun is not None:
            self._begun = self._loop.time()
        while True:
            if self._messages:
                take(self._messages)
            if self._messages:
                return True
            self._keep_pace()  # also at the end: the peer's close frame is to be read
            if self._failure is not None or self.closed:
                return False
            self._take, self._stuck = take, asyncio.get_running_loop().create_future()
            try:
                await self._stuck
            finally:
                self._take = self._stuck = None

    def deliver(self, *, is_greedy: bool, is_partial: bool) -> None:
        """Hand over what a read has brought. `is_greedy`: others are to read before this one reads on."""
        if not is_partial:
            self._begun = None
        elif self._messages or self._begun is None:
            self._begin()
        if self._messages and self._take is not None:
            try:
                self._take(self._messages)
            except Exception as error:  # noqa: BLE001 - a mistake of ours: the loop would take it for a lost socket
                self._wake(error)
        if self._messages or self._failure is not None:
            self._wake()
        self._keep_pace()
        if is_greedy and not self.paused:
            self.paused = True
            self.pause()
            self._loop.call_soon(self._keep_pace)

    @override
    def put(self, frame: Frame) -> None:
        """The library has a data frame, of a stream that respects the protocol."""
        if self._failure is not None:
            return
        try:
            if frame.fin and not self._fragments:
                data = frame.data
                self._messages.append(str(data, "utf-8") if frame.opcode is Opcode.TEXT else bytes(data))
                frame.data = b""  # the parser holds its last frame until the next one comes
            else:
                self._assemble(frame)
        except (UnicodeDecodeError, TooManyFragments) as error:
            self._failure = error
            self._fragments = []

    @override
    async def get(self, decode: bool | None = None) -> NoReturn:
        """Raises what has ended the stream, for the library to act on. Only to be called then."""
        assert not self._messages
        if self._failure is not None:
            raise self._failure
        raise EOFError

    @override
    def close(self) -> None:
        self.closed = True
        self._wake()
        if self._watching is not None:
            self._watching.cancel()

    def _begin(self) -> None:
        """A message has begun, and is not whole yet."""
        self._begun = self._loop.time()
        if self._watching is None and self._assembly_s:
            self._watching = self._loop.call_later(self._assembly_s, self._watch)

    def _watch(self) -> None:
        """Look whether the message that is not whole has had its time."""
        self._watching = None
        if self._begun is None or self.closed:
            return
        left = self._begun + self._assembly_s - self._loop.time()
        if self._messages:
            left = self._assembly_s
        if left > 0:
            self._watching = self._loop.call_later(left, self._watch)
            return
        reason = f"a message was not whole {self._assembly_s:g} s after it had begun (assemblyTimeoutS)"
        self._failure = SocketLost(Failure(FailureKind.TRANSIENT, reason))
        self._wake()

    def _assemble(self, frame: Frame) -> None:
        if self._fragments and len(self._fragments) >= self._max_fragments:
            raise TooManyFragments(self._max_fragments)
        self._fragments.append(frame)
        if frame.fin:
            fragments, self._fragments = self._fragments, []
            data = b"".join([fragment.data for fragment in fragments])
            frame.data = b""
            self._messages.append(data.decode() if fragments[0].opcode is Opcode.TEXT else data)

    def _wake(self, error: Exception | None = None) -> None:
        if self._stuck is None or self._stuck.done():
            return
        if error is None:
            self._stuck.set_result(None)
        else:
            self._stuck.set_exception(error)

    def _keep_pace(self) -> None:
        is_behind = bool(self._messages)
        if is_behind != self.paused:
            self.paused = is_behind
            (self.pause if is_behind else self.resume)()
