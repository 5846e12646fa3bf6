"""Secrets and prepare calls in memory, driven by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from runtime.errors import ManagerError, NotFoundError
from runtime.sources import Answer


class MemorySecrets:
    """Gives what is in `values`, by `store/key`, unless `failure` is set; `reads` tells what was asked for."""

    def __init__(self, **values: str) -> None:
        self.values = dict(values)
        self.reads: list[str] = []
        self.failure: ManagerError | None = None

    async def secret(self, store: str, name: str) -> str:
        self.reads.append(f"{store}/{name}")
        await asyncio.sleep(0.01)
        if self.failure is not None:
            raise self.failure
        if f"{store}/{name}" not in self.values:
            raise NotFoundError("the store's own words")
        return self.values[f"{store}/{name}"]


class MemoryCalls:
    """Answers calls of apps and of URLs with `answer`, after `takes_s`; `calls` tells which came."""

    def __init__(self, answer: Answer | ManagerError | None = None, takes_s: float = 0) -> None:
        self.answer = answer or Answer(200, b"{}")
        self.takes_s = takes_s
        self.calls: list[tuple[str, Mapping[str, str], bytes]] = []
        self.addresses: tuple[str, ...] = ()

    async def invoke(self, app: str, method: str, body: bytes, timeout_s: float) -> Answer:
        return await self._answered(f"{app}/{method}", {}, body)

    async def post(
        self, url: str, addresses: tuple[str, ...], headers: Mapping[str, str], body: bytes, timeout_s: float
    ) -> Answer:
        self.addresses = addresses
        return await self._answered(url, headers, body)

    async def _answered(self, what: str, headers: Mapping[str, str], body: bytes) -> Answer:
        self.calls.append((what, headers, body))
        await asyncio.sleep(self.takes_s)
        if isinstance(self.answer, ManagerError):
            raise self.answer
        return self.answer
