"""A second channel to the sidecar, for a loop on another thread: grpc.aio serves one loop of a process only."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message

from runtime.adapters.dapr.channel import DEADLINE_S, OPTIONS, method_on

A = TypeVar("A", bound=Message)


class ThreadChannel:
    """The synchronous grpc, whose calls are awaited instead of blocked in. Works on any loop, one after the other."""

    def __init__(self, address: str, token: str | None) -> None:
        self.address = address
        self._metadata = (("dapr-api-token", token),) if token else ()
        self._channel = grpc.insecure_channel(address, options=OPTIONS)
        self._methods: dict[str, Any] = {}

    async def call(self, method: str, request: Message, answer: type[A], deadline_s: float = DEADLINE_S) -> A:
        """See `Calls`."""
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def ended(_call: Any) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(done.set)

        invoke = self._methods.get(method)
        if invoke is None:
            invoke = self._methods[method] = method_on(self._channel, method, request, answer)
        call = invoke.future(request, timeout=deadline_s, metadata=self._metadata)
        call.add_done_callback(ended)
        try:
            await done.wait()
        except asyncio.CancelledError:
            call.cancel()
            raise
        answered: A = call.result()
        return answered

    def close(self) -> None:
        """Let go of the connection."""
        self._channel.close()
