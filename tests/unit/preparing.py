"""A preparation over fakes."""

from __future__ import annotations

from typing import Any

import pytest

from runtime.adapters.memory.sockets import MemoryResolver
from runtime.adapters.memory.sources import MemoryCalls, MemorySecrets
from runtime.failure import DialError, Failure
from runtime.guard import Guard
from runtime.host.preparation import Preparation, Prepared
from runtime.host.prepare_call import PrepareCall
from runtime.host.secrets import KeptSecrets
from runtime.models.connection import WebSocketConnection
from runtime.models.opening import Step
from runtime.models.options import WebSocketOptions
from runtime.sources import Answer, Sources, read_secret_rules
from tests.virtual_time import FakeClock

URL = "wss://feed.example/x"
SECRETS: dict[str, Any] = {"token": {"secret": "vault/token"}, "user": {"secret": "vault/user"}}
NASTY = 'a&b="c"/%é\\'


class Bench:
    """A preparation over fakes."""

    def __init__(self, rules: str = "vault/*", apps: tuple[str, ...] = (), **values: str) -> None:
        given = {"token": "t0ken", "user": "us3r", "nasty": NASTY, **values}
        self.store = MemorySecrets(**{f"vault/{key}": value for key, value in given.items()})
        self.calls = MemoryCalls()
        self.resolver = MemoryResolver()
        sources = Sources(self.store, self.calls, self.calls, read_secret_rules(rules), apps, cache_s=60)
        self.clock = FakeClock()
        self.preparation = Preparation(
            KeptSecrets(sources, self.clock), PrepareCall(sources, self.resolver, Guard(allow_private=False), 2)
        )

    async def prepare(self, url: str = URL, **options: Any) -> Prepared:
        record = WebSocketConnection(id="a", url=url, epoch=7, options=WebSocketOptions.read(options))
        return await self.preparation.prepare(record)

    async def failure(self, url: str = URL, **options: Any) -> Failure:
        with pytest.raises(DialError) as caught:
            await self.prepare(url, **options)
        assert "own words" not in str(caught.value)
        assert caught.value.__cause__ is None
        return caught.value.failure

    async def called(self, answer: Answer, **options: Any) -> Prepared:
        self.calls.answer = answer
        return await self.prepare(prepare={"url": "https://tokens.example/feed"}, **options)


def sent(prepared: Prepared) -> list[str | bytes | None]:
    steps = prepared.options.opening_messages
    return [step.content() for step in steps if isinstance(step, Step)]
