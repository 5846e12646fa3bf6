"""Why a socket of the websockets library has ended."""

from __future__ import annotations

from websockets.exceptions import ConnectionClosed, PayloadTooBig, TooManyFragments
from websockets.frames import CloseCode

from runtime.failure import SocketLost, classify_close


def _limit(cause: BaseException | None, frame_bytes: int | None) -> str:
    """The option that a message was too large for."""
    if isinstance(cause, TooManyFragments):
        return "maxFragments"
    if frame_bytes is None:  # frames have no limit of their own; the cause may be a fault that came before
        return "maxMessageBytes"
    of_message = isinstance(cause, PayloadTooBig) and cause.max_size - (cause.current_size or 0) != frame_bytes
    return "maxMessageBytes" if of_message else "maxFrameBytes"


def loss(closed: ConnectionClosed, frame_bytes: int | None) -> SocketLost:
    """By `rcvd` and `sent`, not by `close_code`, which cannot tell who closed."""
    if closed.rcvd is not None and closed.rcvd_then_sent is not False:
        is_echoed = closed.sent == closed.rcvd  # it is not if the peer closed in the middle of a message
        return SocketLost(classify_close(closed.rcvd.code, closed.rcvd.reason), complete=is_echoed)
    if closed.sent is not None:
        reason = closed.sent.reason
        if closed.sent.code == CloseCode.MESSAGE_TOO_BIG:
            reason += f" ({_limit(closed.__cause__, frame_bytes)})"
        is_orderly = closed.rcvd is not None and closed.sent.code in {CloseCode.NORMAL_CLOSURE, CloseCode.GOING_AWAY}
        return SocketLost(classify_close(closed.sent.code, reason, sent_first=True), complete=is_orderly)
    return SocketLost(classify_close(None, ""))
