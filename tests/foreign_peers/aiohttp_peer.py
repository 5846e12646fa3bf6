"""A peer on aiohttp; what each path does is told in `running.py`. Usage: aiohttp_peer.py PORT"""

from __future__ import annotations

import json
import sys

from aiohttp import WSMessage, WSMsgType, web

SUBPROTOCOL = "feed.v2"
MAX_BYTES = 16 * 1024 * 1024


async def serve(request: web.Request) -> web.WebSocketResponse:
    """One connection."""
    pings_by_hand = request.path == "/ping"
    peer = web.WebSocketResponse(
        protocols=[SUBPROTOCOL], compress=True, autoping=not pings_by_hand, max_msg_size=MAX_BYTES
    )
    await peer.prepare(request)
    if request.path == "/hello":
        offered = request.headers.get("Sec-WebSocket-Extensions", "")
        await peer.send_str(json.dumps({"subprotocol": peer.ws_protocol or "", "offered": offered}))
    elif request.path == "/ping":
        await peer.ping(b"are you there")
    elif request.path == "/close":
        await peer.send_str("last")
        await peer.close(code=int(request.query["code"]), message=request.query["reason"].encode())
    async for message in peer:
        await answer(peer, message)
    sys.stdout.write(json.dumps({"path": request.path, "code": peer.close_code}) + "\n")
    return peer


async def answer(peer: web.WebSocketResponse, message: WSMessage) -> None:
    """Echo, and tell of a pong."""
    match message.type:
        case WSMsgType.TEXT:
            await peer.send_str(message.data)
        case WSMsgType.BINARY:
            await peer.send_bytes(message.data)
        case WSMsgType.PING:
            await peer.pong(message.data)
        case WSMsgType.PONG:
            await peer.send_str("pong: " + bytes(message.data).decode())
        case _:
            pass


def main() -> None:
    """Serve until killed."""
    app = web.Application()
    app.router.add_get("/{path}", serve)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None)


if __name__ == "__main__":
    main()
