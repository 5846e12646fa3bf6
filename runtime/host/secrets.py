"""Secrets for dials: those that connections may refer to, read once for many dials and kept for a bounded time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field

from runtime.errors import ManagerError, NotFoundError
from runtime.failure import DialError, Failure, FailureKind
from runtime.models.secrets import SecretReference
from runtime.ports import Clock
from runtime.sources import Sources
from runtime.urls import Endpoint

MAX_KEPT = 10_000
MAX_SECRET_BYTES = 65_536


@dataclass(slots=True)
class KeptSecrets:
    """Reads by the rules of `sources`. A failure names store and key, and nothing that a store has said."""

    sources: Sources
    clock: Clock
    _kept: dict[str, tuple[float, str]] = field(default_factory=dict, repr=False)
    _reading: dict[str, asyncio.Task[str]] = field(default_factory=dict, repr=False)

    async def read(self, reference: SecretReference, endpoint: Endpoint | None) -> str:
        """A secret for whoever is there. Raises DialError."""
        named = reference.secret
        if not any(rule.permits(reference, endpoint) for rule in self.sources.rules):
            where = endpoint.host if endpoint is not None else "an app"
            reason = f"the secret {named} may not be sent to {where}: --secrets does not name it for that"
            raise DialError(Failure(FailureKind.REFUSED, reason))
        until, value = self._kept.get(named, (0.0, ""))
        if self.clock.monotonic() < until:
            return value
        try:
            return await asyncio.shield(self._read_once(reference))  # others may wait for it too
        except NotFoundError:
            reason = f"the secret {named} is not there, or not for us to read"
            raise DialError(Failure(FailureKind.REFUSED, reason)) from None
        except ManagerError:
            reason = f"the secret {named} cannot be read now: its store does not answer"
            raise DialError(Failure(FailureKind.TRANSIENT, reason)) from None

    def forget(self, references: Iterable[SecretReference]) -> None:
        """These may have been changed in their store."""
        for reference in references:
            self._kept.pop(reference.secret, None)

    def _read_once(self, reference: SecretReference) -> asyncio.Task[str]:
        named = reference.secret
        task = self._reading.get(named)
        if task is None:
            task = self._reading[named] = asyncio.create_task(self._read(reference))
            task.add_done_callback(lambda done: self._has_read(named, done))
        return task

    async def _read(self, reference: SecretReference) -> str:
        value = await self.sources.secrets.secret(reference.store, reference.key)
        if len(value) > MAX_SECRET_BYTES:
            raise NotFoundError("too long for a secret")
        if self.sources.cache_s:
            while len(self._kept) >= MAX_KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[reference.secret] = (self.clock.monotonic() + self.sources.cache_s, value)
        return value

    def _has_read(self, named: str, task: asyncio.Task[str]) -> None:
        del self._reading[named]
        if not task.cancelled():
            task.exception()  # looked at, though all who asked may have gone
