"""Reads and writes Redis streams as they are: what was published, in its order, without a subscriber in between."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BufferedReader
from socket import create_connection
from typing import Any

import orjson

from tests.acceptance.ledger import Ledger


@dataclass
class Stream:
    """One topic from its begin. An event that was published again under its id is read once, and counted.

    A frame says the same each time; a repeated command may be answered anew at another time. `fresh` keeps no events,
    and leaves none in Redis; `read` keeps all.
    """

    port: int
    topic: str
    events: list[dict[str, Any]] = field(default_factory=list)
    repeats: int = 0
    _last: str = "-"
    _said: dict[str, int] = field(default_factory=dict)

    def read(self) -> list[dict[str, Any]]:
        """Every event so far."""
        self.events += self._read()
        return self.events

    def fresh(self) -> list[dict[str, Any]]:
        """Every event since the last call."""
        events = list(self._read())
        ask(self.port, "XTRIM", self.topic, "MINID", "~", self._last.lstrip("(-") or "0")
        return events

    def _read(self) -> Iterator[dict[str, Any]]:
        for id_, fields in ask(self.port, "XRANGE", self.topic, self._last, "+"):
            self._last = f"({id_.decode()}"
            event = orjson.loads(fields[fields.index(b"data") + 1])
            is_frame = event["type"].endswith(".frame")
            says = hash((event["type"], event["time"], orjson.dumps(event["data"])) if is_frame else event["type"])
            if event["id"] not in self._said:
                self._said[event["id"]] = says
                yield event
            else:
                self.repeats += 1
                assert self._said[event["id"]] == says, f"two events are called {event['id']}"

    def data(self, kind: str) -> list[dict[str, Any]]:
        """The data of all events of a kind."""
        return [event["data"] for event in self.read() if event["type"].endswith(f".{kind}")]


@dataclass
class Published:
    """What has become of some connections: their frames on topics, and what was told of them, in one ledger."""

    frames: Stream
    told: Stream
    ids: set[str]
    ledger: Ledger = field(default_factory=Ledger)
    _frames: int = 0
    _told: int = 0

    def read(self) -> Ledger:
        """Take in what came since."""
        told, frames = self.told.read(), self.frames.read()
        for event in told[self._told :]:
            if event["data"].get("connectionId") in self.ids:
                self.ledger.take_event(event)
        for event in frames[self._frames :]:
            self.ledger.take_event(event)
        self._told, self._frames = len(told), len(frames)
        return self.ledger


def ask(port: int, *words: str | bytes) -> Any:
    """One command to Redis, and its answer; nothing while it is away or reads its disk."""
    request = [b"*%d\r\n" % len(words)]
    for word in words:
        raw = word.encode() if isinstance(word, str) else word
        request.append(b"$%d\r\n%b\r\n" % (len(raw), raw))
    try:
        with create_connection(("127.0.0.1", port), timeout=10) as connection, connection.makefile("rb") as answer:
            connection.sendall(b"".join(request))
            return _read(answer)
    except ConnectionError:
        return []


def _read(answer: BufferedReader) -> Any:
    kind, rest = (line := answer.readline())[:1], line[1:-2]
    match kind:
        case b"*":
            return [_read(answer) for _ in range(int(rest))]
        case b"$":
            return answer.read(int(rest) + 2)[:-2] if int(rest) >= 0 else None
        case b":":
            return int(rest)
        case b"+":
            return rest
        case b"-" if rest.startswith(b"LOADING"):
            return []
        case _:
            raise AssertionError(f"Redis says {line!r}")
