"""A peer on uvicorn and wsproto; what each path does is told in `running.py`. Usage: uvicorn_peer.py PORT"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any
from urllib.parse import parse_qs

import uvicorn
from uvicorn.protocols.websockets.wsproto_impl import WSProtocol
from wsproto.events import Pong, Request

SUBPROTOCOL = "feed.v2"


class Protocol(WSProtocol):
    """Uvicorn's own, which tells its application of no pong, and not which extensions the client has offered."""

    def handle_connect(self, event: Request) -> None:
        self.app_state = {"pong": asyncio.Event(), "offered": ", ".join(map(str, event.extensions))}
        super().handle_connect(event)

    def handle_pong(self, event: Pong) -> None:
        if bytes(event.payload) == self.pending_ping_payload:
            self.app_state["pong"].set()
        super().handle_pong(event)


async def serve(scope: Any, receive: Any, send: Any) -> None:
    """One connection, in the terms of ASGI."""
    assert scope["type"] == "websocket"
    await receive()
    subprotocol = SUBPROTOCOL if SUBPROTOCOL in scope["subprotocols"] else None
    await send({"type": "websocket.accept", "subprotocol": subprotocol})
    if scope["path"] == "/hello":
        hello = {"subprotocol": subprotocol or "", "offered": scope["state"]["offered"]}
        await send({"type": "websocket.send", "text": json.dumps(hello)})
    elif scope["path"] == "/ping":
        await scope["state"]["pong"].wait()
        await send({"type": "websocket.send", "text": "pong: are you there"})
    elif scope["path"] == "/close":
        query = parse_qs(scope["query_string"].decode())
        await send({"type": "websocket.send", "text": "last"})
        await send({"type": "websocket.close", "code": int(query["code"][0]), "reason": query["reason"][0]})
    while (event := await receive())["type"] != "websocket.disconnect":
        content = {key: event[key] for key in ("text", "bytes") if event.get(key) is not None}
        await send({"type": "websocket.send", **content})
    sys.stdout.write(json.dumps({"path": scope["path"], "code": event["code"]}) + "\n")


def main() -> None:
    """Serve until killed."""
    uvicorn.run(
        serve,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        ws=Protocol,
        ws_ping_interval=0.2,
        lifespan="off",
        log_level="warning",
    )


if __name__ == "__main__":
    main()
