"""The bound of what a server may answer to a handshake: the library has one for each line and for their number only."""

from __future__ import annotations

from websockets.exceptions import InvalidHandshake

_END = b"\r\n\r\n"


class HeadTooLarge(InvalidHandshake):
    """The headers of the answer are larger than `maxHandshakeBytes`."""


class Head:
    """Counts the head of an answer, up to its blank line. What comes after it is the library's to bound."""

    __slots__ = ("_last", "_max_bytes", "_size", "is_open")

    def __init__(self, max_bytes: int) -> None:
        self.is_open = True
        self._max_bytes, self._size, self._last = max_bytes, 0, b""

    def is_too_large_with(self, data: bytes) -> bool:
        """Whether it is too large, now that this has come."""
        seen = self._last + data
        end = seen.find(_END)
        self.is_open = end < 0
        self._size += len(data) if self.is_open else end + len(_END) - len(self._last)
        self._last = seen[1 - len(_END) :]
        return self._size > self._max_bytes

    def check(self) -> None:
        """Raises HeadTooLarge."""
        if self._size > self._max_bytes:
            raise HeadTooLarge(f"the server's answer has more than {self._max_bytes} bytes (maxHandshakeBytes)")
