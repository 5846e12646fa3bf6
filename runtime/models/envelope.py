"""The envelope around one frame, and the one encoder that writes it on the hot path."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from typing import Any

import orjson

from runtime.models.wire import UtcTime, WireModel
from runtime.urls import mask_url

TEXT = "text/plain"
BINARY = "application/octet-stream"
JSON = "application/json"
_LEVELS_WRITTEN = 254  # by orjson, which reads deeper
_LEVELS_AROUND = 3  # envelope, batch, CloudEvent
_BREAKS = bytes.maketrans(b"\r\n", b"  ")


class MessageEnvelope(WireModel):
    """A frame as subscribers see it.

    `payload` is the text, base64 where `contentType` says octet-stream, and a JSON value where it says JSON.

    `sequence` counts from 1 within (connection, epoch) and has no holes that were not announced by a gap event.
    """

    websocket_id: str
    websocket_url: str
    timestamp: UtcTime
    payload: Any
    epoch: int
    sequence: int
    content_type: str = TEXT


class EnvelopeEncoder:
    """Writes envelopes of one connection and epoch as JSON.

    Same bytes as `MessageEnvelope.to_json`, at about a tenth of its cost: what is constant is encoded once.
    `is_json`: a text that is JSON stands in it as it came, so that no digit of a number is lost; one that is nested so
    deeply that readers would refuse the whole event stays a text.
    """

    __slots__ = ("_is_json", "_middle", "_start", "_tail_binary", "_tail_json", "_tail_text")

    def __init__(self, connection_id: str, url: str, epoch: int, *, is_json: bool = False) -> None:
        self._is_json = is_json
        self._start = b'{"websocketId":%b,"websocketUrl":%b,"timestamp":"' % (
            orjson.dumps(connection_id),
            orjson.dumps(mask_url(url)),
        )
        self._middle = b',"epoch":%d,"sequence":' % epoch
        self._tail_text = b',"contentType":"text/plain"}'
        self._tail_binary = b',"contentType":"application/octet-stream"}'
        self._tail_json = b',"contentType":"application/json"}'

    def encode(self, payload: str | bytes, received: str, sequence: int) -> bytes:
        """One envelope. `received` is a time as `format_time` writes it."""
        return self.stamped(received)(payload, sequence)

    def stamped(self, received: str) -> Callable[[str | bytes, int], bytes]:
        """What encodes payloads that were received together: `(payload, sequence)`."""
        start, middle = b'%b%b","payload":' % (self._start, received.encode()), self._middle
        text, binary, json = self._tail_text, self._tail_binary, self._tail_json

        def encode(payload: str | bytes, sequence: int) -> bytes:
            if isinstance(payload, str):
                return b"%b%b%b%d%b" % (start, orjson.dumps(payload), middle, sequence, text)
            return b'%b"%b"%b%d%b' % (start, b64encode(payload), middle, sequence, binary)

        def encode_json(payload: str | bytes, sequence: int) -> bytes:
            value = _json(payload) if isinstance(payload, str) else None
            return (
                encode(payload, sequence) if value is None else b"%b%b%b%d%b" % (start, value, middle, sequence, json)
            )

        return encode_json if self._is_json else encode


def _json(text: str) -> bytes | None:
    """The text as JSON on one line; None when it is none, or nested too deeply."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    data = text.encode()
    if data.count(b"[") + data.count(b"{") > _LEVELS_WRITTEN - _LEVELS_AROUND and _is_deep(value):
        return None
    return data.translate(_BREAKS) if b"\n" in data or b"\r" in data else data  # none stands within a JSON string


def _is_deep(value: object) -> bool:
    """Whether an event that holds it could not be written again."""
    try:
        orjson.dumps([[[value]]])
    except orjson.JSONEncodeError:
        return True
    return False
