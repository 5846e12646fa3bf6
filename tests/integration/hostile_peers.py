"""Peers that do harm, as data: what each does, and how our connection to it ends."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, TypeAlias

from runtime.failure import FailureKind
from tests.peers import BINARY, CLOSE, PING, PONG, TEXT, close_frame, frame
from tests.scripted import Do, Drip, Ear, Flood, Step

Options: TypeAlias = Mapping[str, Any]
TRANSIENT, THROTTLED, REFUSED = FailureKind.TRANSIENT, FailureKind.THROTTLED, FailureKind.REFUSED
MIB = 1024 * 1024
ANSWER, CONTINUATION = "HTTP/1.1 101 x", 0x0
UPGRADE = ("Upgrade: websocket", "Connection: Upgrade")
ACCEPT = "Sec-WebSocket-Accept: {accept}"
NO_HANDSHAKE = "the server's answer is no handshake: "
HUNG_UP = "the server hung up during the handshake"
BROKE = "the connection broke without a close frame (1006)"
SILENT = "no pong and no message within 0.2 s of a ping"
SLOW = "a message was not whole 0.3 s after it had begun (assemblyTimeoutS)"
TOO_LARGE = "(maxMessageBytes)"
PINGS: Options = {"pingIntervalS": 0.1, "pingTimeoutS": 0.2}
IMPATIENT: Options = {"connectTimeoutS": 0.4}
HASTY: Options = {"assemblyTimeoutS": 0.3, "pingIntervalS": 0}


@dataclass(frozen=True, slots=True)
class Case:
    """`does` follows until the client has gone. `reason` is a part of what is told.

    `tls`: the certificate that is shown, or "none" for a peer that does not speak TLS when it should. `published`: the
    payloads that count in spite of all. `within_s` is a limit for a busy machine, not what the options say.
    """

    name: str
    kind: FailureKind
    reason: str
    does: tuple[Step, ...]
    options: Options = field(default_factory=dict)
    ear: Ear = Ear.IGNORES
    tls: str = ""
    published: tuple[str, ...] = ()
    within_s: float = 10
    peak_bytes: int = 4 * MIB


def head(*lines: str, body: bytes = b"") -> bytes:
    """An answer to the handshake."""
    return "\r\n".join([*lines, "", ""]).encode() + body


def handshake(name: str, reason: str, *does: Step, kind: FailureKind = TRANSIENT, **options: Any) -> Case:
    """A peer that hears the handshake before it does anything; it is not given the time of a close for that."""
    return Case(name, kind, reason, (Do.HEAR, *does), {"closeTimeoutS": 60, **options})


def accepted(name: str, *more: str, reason: str = NO_HANDSHAKE + "NegotiationError", **options: Any) -> Case:
    """A handshake that would be a good one without some more headers."""
    return handshake(name, reason, head(ANSWER, *UPGRADE, ACCEPT, *more), **options)


def frames(name: str, reason: str, *does: Step, kind: FailureKind = TRANSIENT, **options: Any) -> Case:
    """A peer that does harm after a good handshake."""
    return Case(name, kind, reason, (Do.SHAKE, *does), options)


def breach(name: str, code: int, *does: Step, reason: str = "", **options: Any) -> Case:
    """A peer that breaks the protocol: we close, and take it for a refusal."""
    return frames(name, f"we closed with {code}: {reason}", *does, kind=REFUSED, **options)


def piece(data: bytes, opcode: int = CONTINUATION, *, last: bool = False) -> bytes:
    """A fragment."""
    return frame(opcode, data, fin=last)


def bomb(*, fin: bool = True) -> bytes:
    """A message of 32 MiB, compressed to 32 KiB."""
    whole = frame(TEXT, _packed_zeros(), fin=fin)
    return bytes([whole[0] | 0x40]) + whole[1:]


@cache
def _packed_zeros() -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return b"".join([packer.compress(bytes(32 * MIB)), packer.flush(zlib.Z_SYNC_FLUSH)])[:-4]


ANSWERS = [
    handshake("answers 200", "HTTP 200", head("HTTP/1.1 200 x", "Content-Length: 2", body=b"hi")),
    handshake("answers 100 first", "HTTP 100", head("HTTP/1.1 100 x"), head(ANSWER, *UPGRADE, ACCEPT)),
    handshake("redirects", "redirects are not followed", head("HTTP/1.1 301 x", "Location: ws://127.0.0.1:1/"), Do.END,
              kind=REFUSED),
    handshake("wants another version", "HTTP 426", head("HTTP/1.1 426 x", "Content-Length: 0"), kind=REFUSED),
    handshake("401 with a body", "HTTP 401", head("HTTP/1.1 401 x", "Content-Length: 2", body=b"no"), kind=REFUSED),
    handshake("401 in chunks", "HTTP 401", head("HTTP/1.1 401 x", "Transfer-Encoding: chunked"),
              b"2\r\nno\r\n0\r\n\r\n", kind=REFUSED),
    handshake("401 with a body that stalls", "no connection within 0.4 s", head("HTTP/1.1 401 x"), **IMPATIENT),
    handshake("401 with a body without end", NO_HANDSHAKE, head("HTTP/1.1 401 x"), Flood(b"x" * 65536)),
    handshake("401 with chunks without end", NO_HANDSHAKE, head("HTTP/1.1 401 x", "Transfer-Encoding: chunked"),
              Flood(b"ffff\r\n" + b"x" * 65535 + b"\r\n")),
    handshake("a chunk of impossible size", NO_HANDSHAKE,
              head("HTTP/1.1 401 x", "Transfer-Encoding: chunked", body=b"-1\r\n")),
    handshake("a length of impossible size", NO_HANDSHAKE, head("HTTP/1.1 401 x", "Content-Length: " + "9" * 30)),
    handshake("an encoding that nobody knows", NO_HANDSHAKE, head("HTTP/1.1 401 x", "Transfer-Encoding: rot13")),
    handshake("429 with a long wait", "HTTP 429",
              head("HTTP/1.1 429 x", "Content-Length: 0", "Retry-After: 99999999999"), kind=THROTTLED),
    handshake("503 with a wait that is no number", "HTTP 503",
              head("HTTP/1.1 503 x", "Content-Length: 0", "Retry-After: soon"), kind=THROTTLED),
    handshake("status 999", NO_HANDSHAKE, head("HTTP/1.1 999 x")),
    handshake("status of a thousand digits", NO_HANDSHAKE, head(f"HTTP/1.1 {'1' * 1000} x")),
    handshake("HTTP/1.0", NO_HANDSHAKE, head("HTTP/1.0 101 x", *UPGRADE, ACCEPT)),
    handshake("HTTP/2", "no connection within 0.4 s", b"\0\0\x12\x04\0\0\0\0\0" + bytes(18), **IMPATIENT),
    handshake("the preface of HTTP/2", NO_HANDSHAKE, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    handshake("another protocol", NO_HANDSHAKE, b"SSH-2.0-OpenSSH_9.6\r\n"),
    handshake("zeros", NO_HANDSHAKE, Flood(bytes(65536))),
    handshake("frames instead of an answer", "no connection within 0.4 s", frame(TEXT, b"hello") * 9, **IMPATIENT),
]  # fmt: skip

HEADERS = [
    handshake("no Upgrade", NO_HANDSHAKE + "InvalidUpgrade", head(ANSWER, UPGRADE[1], ACCEPT)),
    handshake("no Connection", NO_HANDSHAKE + "InvalidUpgrade", head(ANSWER, UPGRADE[0], ACCEPT)),
    handshake("upgrade to another protocol", NO_HANDSHAKE + "InvalidUpgrade",
              head(ANSWER, "Upgrade: h2c", UPGRADE[1], ACCEPT)),
    handshake("no accept key", NO_HANDSHAKE + "InvalidHeader", head(ANSWER, *UPGRADE)),
    handshake("a wrong accept key", NO_HANDSHAKE + "InvalidHeaderValue",
              head(ANSWER, *UPGRADE, "Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=")),
    accepted("two accept keys", ACCEPT, reason=NO_HANDSHAKE + "InvalidHeader"),
    accepted("a subprotocol that nobody asked for", "Sec-WebSocket-Protocol: feed.v2"),
    accepted("an extension that nobody knows", "Sec-WebSocket-Extensions: x-turbo"),
    accepted("compression that nobody asked for", "Sec-WebSocket-Extensions: permessage-deflate"),
    accepted("a header without colon", "no colon here", reason=NO_HANDSHAKE + "InvalidMessage"),
    accepted("a header with a NUL", "X-Nul: a\0b", reason=NO_HANDSHAKE + "InvalidMessage"),
    accepted("a folded header", "X-Folded: a\r\n b", reason=NO_HANDSHAKE + "InvalidMessage"),
    accepted("too many headers", *(f"X-{number}: x" for number in range(200)), reason=NO_HANDSHAKE + "InvalidMessage"),
    accepted("a header that is too long", "X-Long: " + "x" * 70_000, reason=NO_HANDSHAKE + "InvalidMessage"),
    handshake("lines that end in LF only", HUNG_UP, b"HTTP/1.1 101 x\nUpgrade: websocket\n\n"),
    handshake("headers without end", NO_HANDSHAKE, head(ANSWER)[:-2], Flood(b"X-Again: and again\r\n" * 100)),
    handshake("a header line without end", NO_HANDSHAKE, head(ANSWER)[:-2], Flood(b"x" * 1000)),
    accepted("an answer that is too long", "X-Long: " + "x" * 2000, reason="maxHandshakeBytes", maxHandshakeBytes=1024),
    handshake("a status line without end", NO_HANDSHAKE, Flood(b"H" * 1000)),
]  # fmt: skip

SLOWNESS = [
    Case("accepts and says nothing", TRANSIENT, "no connection within 0.4 s", (), IMPATIENT),
    handshake("the handshake byte by byte", "no connection within 0.4 s", Drip(head(ANSWER, *UPGRADE) * 9, 0.05),
              **IMPATIENT),
    handshake("half an answer", "no connection within 0.4 s", head(ANSWER, *UPGRADE)[:-2], **IMPATIENT),
]  # fmt: skip

ENDS = [
    Case("hangs up at once", TRANSIENT, HUNG_UP, (Do.HANG_UP,)),
    Case("resets at once", TRANSIENT, HUNG_UP, (Do.RESET,)),
    handshake("hangs up after the request", HUNG_UP, Do.HANG_UP),
    handshake("resets after the request", HUNG_UP, Do.RESET),
    handshake("ends in the status line", HUNG_UP, b"HTTP/1.1 1", Do.END),
    handshake("ends in the headers", HUNG_UP, head(ANSWER, *UPGRADE)[:-2], Do.END),
    handshake("resets in the headers", HUNG_UP, head(ANSWER, *UPGRADE)[:-2], Do.RESET),
    handshake("ends in a body", HUNG_UP, head("HTTP/1.1 401 x", "Content-Length: 9"), Do.END),
    frames("ends after the handshake", BROKE, Do.END),
    frames("hangs up after the handshake", BROKE, Do.HANG_UP),
    frames("resets after the handshake", BROKE, Do.RESET),
    frames("ends in a frame", BROKE, frame(TEXT, b"x", size=9), Do.END),
    frames("resets in a frame", BROKE, frame(TEXT, b"x", size=9), Do.RESET),
    frames("ends in a fragmented message", BROKE, piece(b"x", TEXT), Do.END),
    frames("resets after its close frame", "the peer closed with 1000", close_frame(1000), 0.1, Do.RESET),
]

TLS = [
    Case("no answer to TLS", TRANSIENT, "no connection within 0.4 s", (), IMPATIENT, tls="none"),
    Case("a TLS record that stalls", TRANSIENT, "no connection within 0.4 s", (b"\x16\x03\x03\x40\x00\x02",), IMPATIENT,
         tls="none"),
    Case("a TLS record byte by byte", TRANSIENT, "no connection within 0.4 s",
         (b"\x16\x03\x03\x40\x00", Drip(b"\x02" + bytes(9999), 0.02)), IMPATIENT, tls="none"),
    Case("an alert instead of TLS", TRANSIENT, "TLS failed", (b"\x15\x03\x03\x00\x02\x02\x28",), tls="none"),
    Case("no TLS", TRANSIENT, "TLS failed", (b"HTTP/1.1 400 Bad Request\r\n\r\n",), tls="none"),
    Case("a reset in TLS", TRANSIENT, HUNG_UP, (Do.RESET,), tls="none"),
    Case("a certificate that nobody trusts", REFUSED, "not trusted: self-signed certificate", (), tls="untrusted"),
    Case("a certificate that has expired", REFUSED, "not trusted: certificate has expired", (), tls="expired"),
    Case("a certificate for another name", REFUSED, "not trusted: ", (), tls="misnamed"),
    Case("silence in good TLS", TRANSIENT, "no connection within 0.4 s", (), IMPATIENT, tls="good"),
    Case("a wrong frame in good TLS", REFUSED, "we closed with 1002", (Do.SHAKE, frame(0x3)), tls="good"),
]  # fmt: skip

FRAMES = [
    breach("a masked frame", 1002, b"\x81\x82\1\2\3\4ab", reason="incorrect masking"),
    *(breach(f"reserved bit {n}", 1002, bytes([0x81 | bit, 0]), reason="reserved bits") for n, bit in
      ((1, 0x40), (2, 0x20), (3, 0x10))),
    breach("a bomb, and compression was not negotiated", 1002, bomb(), reason="reserved bits"),
    *(breach(f"opcode {code:#x}", 1002, frame(code), reason="invalid opcode") for code in (3, 7, 0xB, 0xF)),
    breach("a ping in fragments", 1002, frame(PING, b"x", fin=False), reason="fragmented control frame"),
    breach("a close in fragments", 1002, frame(CLOSE, b"\x03\xe8", fin=False), reason="fragmented control frame"),
    breach("a ping of 126 bytes", 1002, frame(PING, bytes(126)), reason="control frame too long"),
    breach("a pong of 64 KiB", 1002, frame(PONG, bytes(65536)), reason="control frame too long"),
    breach("a close of 126 bytes", 1002, frame(CLOSE, b"\x03\xe8" + bytes(124)), reason="control frame too long"),
    breach("a continuation of nothing", 1002, piece(b"x", last=True), reason="unexpected continuation frame"),
    breach("a message in a message", 1002, piece(b"x", TEXT), frame(TEXT, b"y"), reason="expected a continuation"),
    frames("a close in a message", "the peer closed with 1000", piece(b"x", TEXT), close_frame(1000)),
    breach("a length with the high bit", 1009, b"\x82\x7f" + b"\xff" * 8, reason="frame with"),
    breach("a length of 2^63 - 1", 1009, b"\x82\x7f\x7f" + b"\xff" * 7, reason="frame with"),
    breach("a message that is too large", 1009, frame(BINARY, size=MIB + 1), Flood(bytes(65536)), reason="frame with"),
    breach("a large message in fragments", 1009, piece(b"", BINARY), Flood(piece(bytes(65536))), reason="frame with"),
    breach("fragments without end", 1009, piece(b"", TEXT), Flood(piece(b"") * 100), reason="too many fragments"),
    breach("a frame that is too large", 1009, frame(BINARY, bytes(1001)), reason="frame with", maxFrameBytes=1000),
    breach("one fragment too many", 1009, piece(b"x", TEXT), piece(b"y"), piece(b"z", last=True),
           reason="too many fragments", maxFragments=2),
    Case("a length longer than it must be", TRANSIENT, "the peer closed with 1000",
         (Do.SHAKE, b"\x81\x7e\0\x01a\x81\x7f\0\0\0\0\0\0\0\x01b", close_frame(1000), Do.HANG_UP),
         published=("a", "b")),
]  # fmt: skip

TEXTS = [
    breach("text that is no UTF-8", 1007, frame(TEXT, b"\xff\xfe")),
    breach("text that is cut", 1007, frame(TEXT, "ž".encode()[:1])),
    breach("a surrogate", 1007, frame(TEXT, b"\xed\xa0\x80")),
    breach("an overlong encoding", 1007, frame(TEXT, b"\xc0\xaf")),
    breach("beyond Unicode", 1007, frame(TEXT, b"\xf4\x90\x80\x80")),
    breach("no UTF-8 in pieces", 1007, piece(b"\xc5", TEXT), piece(b"\xff"), piece(b"\xbe", last=True)),
    breach("cut at the end of the last piece", 1007, piece(b"x", TEXT), piece(b"\xc5", last=True)),
    Case("no UTF-8 after what is good", REFUSED, "we closed with 1007",
         (Do.SHAKE, frame(TEXT, b"good") + frame(TEXT, b"\xff")), published=("good",)),
]  # fmt: skip

CLOSES = [
    breach("a close of one byte", 1002, frame(CLOSE, b"\x03"), reason="close frame too short"),
    *(breach(f"close code {code}", 1002, close_frame(code), reason="invalid status code") for code in
      (0, 999, 1005, 1006, 1015, 2999, 5000, 65535)),
    breach("a reason that is no UTF-8", 1007, frame(CLOSE, b"\x03\xe8\xff")),
    frames("a close without a code", "the peer closed with 1005", frame(CLOSE)),
    frames("closes and stays", "the peer closed with 1000", close_frame(1000)),
    Case("closes and sends on", TRANSIENT, "the peer closed with 1001",
         (Do.SHAKE, frame(TEXT, b"last"), close_frame(1001), Flood(frame(TEXT, b"after the end") * 100)),
         published=("last",)),
    Case("closes and resets", REFUSED, "the peer closed with 1008", (Do.SHAKE, close_frame(1008), 0.1, Do.RESET)),
    Case("closes and reads no more", TRANSIENT, "the peer closed with 1000", (Do.SHAKE, close_frame(1000)),
         ear=Ear.DEAF),
    frames("a reason with control characters", "the peer closed with 4000: a?b", close_frame(4000, "a\x1bb")),
]  # fmt: skip

LIVENESS = [
    frames("silence", SILENT, **PINGS),
    frames("pongs to other pings", SILENT, Flood(frame(PONG, b"no such ping")), **PINGS),
    frames("a flood of pings", SILENT, Flood(frame(PING) * 100), **PINGS),
    Case("a flood of pings by a peer that takes no pongs", TRANSIENT, "no pong and no message within 1 s",
         (Do.SHAKE, Flood(frame(PING, bytes(125)) * 100)), {"pingIntervalS": 0.1, "pingTimeoutS": 1}, Ear.DEAF,
         peak_bytes=MIB),
    frames("a frame that stalls after its head", SILENT, frame(TEXT, size=9), **PINGS),
    frames("a frame that stalls", SLOW, frame(TEXT, b"x", size=9), **HASTY),
    frames("a message byte by byte", SLOW, frame(TEXT, size=999_999), Drip(b"x", 0.02), **HASTY),
    Case("a message that comes with the handshake and stalls", TRANSIENT, SLOW,
         (Do.HEAR, head(ANSWER, *UPGRADE, ACCEPT) + frame(TEXT, b"x", size=9), Drip(b"x", 0.2)), HASTY),
    Case("fragments that never end, with pongs in between", TRANSIENT, SLOW,
         (Do.SHAKE, piece(b"x", TEXT), Flood(piece(b"x"), 0.02)), {**HASTY, **PINGS}, Ear.ANSWERS),
    Case("pongs and never a message", TRANSIENT, "no message within 0.3 s (idleTimeoutS)", (Do.SHAKE,),
         {**PINGS, "stableAfterS": 0.1, "idleTimeoutS": 0.3}, Ear.ANSWERS),
    Case("reads nothing", TRANSIENT, SILENT, (Do.SHAKE,), PINGS, Ear.DEAF),
]  # fmt: skip

DEFLATE: Options = {"permessageDeflate": True}
DEFLATES = (Do.HEAR, head(ANSWER, *UPGRADE, ACCEPT, "Sec-WebSocket-Extensions: permessage-deflate"))
COMPRESSED = [
    Case("a bomb", REFUSED, TOO_LARGE, (*DEFLATES, bomb()), DEFLATE),
    Case("a bomb in fragments", REFUSED, TOO_LARGE, (*DEFLATES, bomb(fin=False), piece(b"", last=True)), DEFLATE),
    Case("what cannot be unpacked", REFUSED, "we closed with 1002", (*DEFLATES, b"\xc1\x03\xff\xff\xff"), DEFLATE),
    Case("a compressed ping", REFUSED, "we closed with 1002", (*DEFLATES, b"\xc9\x00"), DEFLATE),
    handshake("a window that nobody offered", NO_HANDSHAKE + "NegotiationError",
              head(ANSWER, *UPGRADE, ACCEPT, "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=7"),
              **DEFLATE),
    handshake("compression twice", NO_HANDSHAKE + "NegotiationError",
              head(ANSWER, *UPGRADE, ACCEPT, *["Sec-WebSocket-Extensions: permessage-deflate"] * 2), **DEFLATE),
]  # fmt: skip

ASKED: Options = {"subprotocols": ["feed.v2", "feed.v1"]}
SUBPROTOCOLS = [
    handshake("a subprotocol that was not offered", "picked a subprotocol that was not offered",
              head(ANSWER, *UPGRADE, ACCEPT, "Sec-WebSocket-Protocol: feed.v3"), kind=REFUSED, **ASKED),
    handshake("two subprotocols", NO_HANDSHAKE + "InvalidHeader",
              head(ANSWER, *UPGRADE, ACCEPT, "Sec-WebSocket-Protocol: feed.v2, feed.v1"), **ASKED),
    handshake("no subprotocol where one is required", "picked none of the subprotocols",
              head(ANSWER, *UPGRADE, ACCEPT), kind=REFUSED, subprotocolRequired=True, **ASKED),
]  # fmt: skip


def all_cases() -> Iterator[Case]:
    """Every one, with different names."""
    for group in (ANSWERS, HEADERS, SLOWNESS, ENDS, TLS, FRAMES, TEXTS, CLOSES, LIVENESS, COMPRESSED, SUBPROTOCOLS):
        yield from group
