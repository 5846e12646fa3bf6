"""Bytes at the reader: what it makes of them is what the library's own parser makes of them, however they are cut."""

from __future__ import annotations

import zlib
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.http11 import MAX_BODY_SIZE

from runtime.adapters.inbox import PORTION_BYTES
from runtime.adapters.loss import loss
from runtime.failure import DialError, FailureKind, SocketLost
from runtime.models.options import WebSocketOptions
from tests.fuzz.effort import effort
from tests.fuzz.values import clean_text, mutated_bytes
from tests.fuzz.wire import accepting, client, read_all
from tests.peers import BINARY, CLOSE, PING, PONG, TEXT, close_frame, frame
from tests.virtual_time import virtual_time

HEAD_MAX_BYTES = 14
CONTINUATION, RSV1 = 0x0, 0x40


def _deflated(payload: bytes) -> bytes:
    squeeze = zlib.compressobj(wbits=-15)
    return (squeeze.compress(payload) + squeeze.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\x00\x00\xff\xff")


def _message(content: tuple[bytes, int], cuts: list[int], between: bytes, *, is_deflated: bool) -> bytes:
    """One message in fragments, and what comes between each two of them."""
    payload, opcode = content
    payload = _deflated(payload) if is_deflated else payload
    places = [0, *sorted(cut % (len(payload) + 1) for cut in cuts), len(payload)]
    frames = [
        frame(CONTINUATION if number else opcode, payload[start:end], fin=number == len(places) - 2)
        for number, (start, end) in enumerate(pairwise(places))
    ]
    if is_deflated:
        frames[0] = bytes([frames[0][0] | RSV1]) + frames[0][1:]
    return between.join(frames)


_text = clean_text.map(str.encode) | st.sampled_from([b"", "🙂é".encode(), b"x" * 1001, "é".encode() * 35_000])
_binary = st.binary(max_size=40) | st.sampled_from([bytes(126), b"\xf0\x9f", b"\xed\xa0\x80", b"y" * 70_000])
_payload = st.tuples(_text, st.sampled_from([TEXT, BINARY])) | st.tuples(_binary, st.just(BINARY))
_control = st.builds(frame, st.sampled_from([PING, PONG]), st.binary(max_size=8))
_closing = st.one_of(
    st.builds(
        close_frame,
        st.sampled_from([0, 999, 1000, 1001, 1004, 1005, 1006, 1008, 1011, 1012, 1013, 1015, 2999, 3000, 4999, 65535]),
        clean_text.filter(lambda text: len(text.encode()) < 200),
    ),
    st.sampled_from([frame(CLOSE), frame(CLOSE, b"\x03"), frame(CLOSE, b"\x03\xe8\xff")]),
)
_odd = st.one_of(
    st.builds(frame, st.integers(0, 15), st.binary(max_size=5), fin=st.booleans()),
    st.builds(
        frame, st.sampled_from([TEXT, BINARY]), st.just(b"x"), size=st.sampled_from([2, 126, 65536, 2**40, 2**64 - 1])
    ),
    st.binary(max_size=4),
    st.sampled_from([frame(PING, bytes(126)), frame(PONG, fin=False), frame(TEXT, b"\xf0\x9f")]),
    st.just(frame(TEXT, b"masked").replace(b"\x06", b"\x86\x00\x00\x00\x00")),
)


def _streams(*, deflates: bool) -> st.SearchStrategy[bytes]:
    """What peers send: well-behaved ones, with an odd end, some that are odd all along, spoilt, and noise."""
    whole = st.builds(
        _message,
        _payload,
        st.lists(st.integers(0, 100_000), max_size=5),
        st.just(b"") | _control,
        is_deflated=st.booleans() if deflates else st.just(False),
    )
    mostly = st.one_of(whole, whole, whole, _control)
    regular = st.lists(mostly, min_size=2, max_size=12).map(b"".join)
    return st.one_of(
        regular,
        regular,
        st.tuples(regular, _closing | st.just(b""), st.just(b"") | _odd).map(b"".join),
        st.lists(st.one_of(mostly, _odd, _closing), max_size=8).map(b"".join),
        mutated_bytes(regular),
        st.binary(max_size=60),
    )


_DEFLATED, _PLAIN = _streams(deflates=True), _streams(deflates=False)


@st.composite
def _cases(draw: st.DrawFn) -> tuple[WebSocketOptions, bytes]:
    """Options, and a stream of a peer that has agreed to them."""
    size = draw(st.sampled_from([2**20] * 5 + [1000, 125, 4]))
    options = WebSocketOptions(
        max_message_bytes=size,
        max_frame_bytes=min(size, draw(st.sampled_from([0, 0, 0, 0, 1000, 126, 3]))),
        max_fragments=draw(st.sampled_from([4096, 4096, 4096, 4, 1])),
        permessage_deflate=draw(st.booleans()),
    )
    return options, draw(_DEFLATED if options.permessage_deflate else _PLAIN)


_pieces = st.lists(st.sampled_from([1, 2, 7, 100, PORTION_BYTES, 40_000, 100_000]), min_size=1, max_size=6)


def _cut(stream: bytes, sizes: list[int]) -> list[bytes]:
    """In pieces of these sizes, over and over; not so small that a long stream takes for ever."""
    pieces: list[bytes] = []
    at = 0
    while at < len(stream):
        size = max(sizes[len(pieces) % len(sizes)], len(stream) // 2000)
        pieces.append(stream[at : at + size])
        at += size
    return pieces


class _Expected:
    """What the library's parser makes of all bytes at once. `code`: with which we close over what it lets pass."""

    def __init__(self, options: WebSocketOptions, stream: bytes) -> None:
        self.messages: list[str | bytes] = []
        self.code: int | None = None
        self._fragments: list[Frame] = []
        self._most = options.max_fragments
        protocol = client(options)
        protocol.connect()
        protocol.receive_data(accepting(protocol.key, deflates=options.permessage_deflate) + stream)
        protocol.receive_eof()
        for event in protocol.events_received():
            if isinstance(event, Frame) and event.opcode in {Opcode.CONT, Opcode.TEXT, Opcode.BINARY}:
                self._take(event)
        self.end = loss(protocol.close_exc, options.max_frame_bytes or None)

    def _take(self, part: Frame) -> None:
        if self.code is not None:
            return
        if self._fragments and len(self._fragments) >= self._most:
            self.code = 1009
            return
        self._fragments.append(part)
        if not part.fin:
            return
        data, opcode = b"".join(each.data for each in self._fragments), self._fragments[0].opcode
        self._fragments = []
        try:
            self.messages.append(data.decode() if opcode is Opcode.TEXT else data)
        except UnicodeDecodeError:
            self.code = 1007


@effort(1000)
@given(_cases(), _pieces, st.sampled_from([1, 2, 1000]))
def test_a_stream_is_its_messages_and_a_classified_end_in_bounded_memory(
    case: tuple[WebSocketOptions, bytes], sizes: list[int], take_at_once: int
):
    options, stream = case
    expected = _Expected(options, stream)

    @virtual_time
    async def run() -> None:
        messages, end, network = await read_all(options, None, _cut(stream, sizes), take_at_once)
        assert isinstance(end, SocketLost)
        assert messages == expected.messages
        assert isinstance(end.failure.kind, FailureKind)
        if expected.code is None:
            assert (end.failure, end.complete) == (expected.end.failure, expected.end.complete)
        else:  # unless the stream goes on and breaks the protocol before we come to close
            others = str(expected.end).partition(" (max")[0]
            assert str(end).startswith((f"we closed with {expected.code}", others))
        assert all(
            len(each if isinstance(each, bytes) else each.encode()) <= options.max_message_bytes for each in messages
        )
        largest = options.max_frame_bytes or options.max_message_bytes
        assert network.most_buffered <= max(largest, 125) + HEAD_MAX_BYTES + PORTION_BYTES

    run()


@effort(200)
@given(st.data(), _pieces)
def test_any_answer_to_a_handshake_is_a_socket_or_a_classified_failure(data: st.DataObject, sizes: list[int]):
    options = WebSocketOptions(max_handshake_bytes=1024, permessage_deflate=data.draw(st.booleans()))
    good = st.just(accepting("dGhlIHNhbXBsZSBub25jZQ==", deflates=data.draw(st.booleans())))
    odd = st.sampled_from(
        [b"HTTP/1.1 429 x\r\nRetry-After: 7\r\n\r\n", b"HTTP/1.1 302 x\r\nLocation: ws://a\r\n\r\n", b"x" * 3000]
    )
    answer = data.draw(st.one_of(mutated_bytes(good), mutated_bytes(odd), good, odd, st.binary(max_size=60)))
    behind = data.draw(_PLAIN)

    @virtual_time
    async def run() -> None:
        first, *others = _cut(answer + behind, sizes) or [b""]
        messages, end, network = await read_all(options, first, others, 1)
        assert isinstance(end, DialError)  # none of them has the key of this handshake
        assert isinstance(end.failure.kind, FailureKind)
        assert str(end)
        assert messages == []
        assert network.most_buffered <= options.max_handshake_bytes + MAX_BODY_SIZE + PORTION_BYTES
        assert network.is_closing() or not network.waiting

    run()
