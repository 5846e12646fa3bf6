"""The call before a dial that tells a fresh URL, headers or opening messages, and what its failures mean."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

import orjson

from runtime.errors import InvalidInputError, PermanentError, TransientError
from runtime.failure import DialError, Failure, FailureKind, classify_status
from runtime.guard import Guard
from runtime.host.checking import checked_addresses
from runtime.models.connection import WebSocketConnection
from runtime.models.handshake import PrepareOptions
from runtime.models.prepare import PrepareAnswer, PrepareQuestion
from runtime.ports import Resolver
from runtime.sources import Answer, Sources
from runtime.urls import ascii_http_url, parse_http_url

WHO = "the prepare call"


@dataclass(slots=True)
class PrepareCall:
    """Calls by Dapr what `sources.apps` names, and URLs by addresses that the guard allows; `max_calls` at a time."""

    sources: Sources
    resolver: Resolver
    guard: Guard
    max_calls: int
    _slots: asyncio.Semaphore = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._slots = asyncio.Semaphore(self.max_calls)

    async def ask(
        self, record: WebSocketConnection, options: PrepareOptions, url: str | None, headers: Mapping[str, str]
    ) -> PrepareAnswer:
        """The answer. `url` and `headers`: of the call, in clear. Raises DialError."""
        question = PrepareQuestion(id=record.id, epoch=record.epoch, generation=record.generation)
        async with self._slots:
            try:
                async with asyncio.timeout(options.timeout_s):
                    answer = await self._call(options, url, headers, question.to_json())
            except TimeoutError:
                raise _failed(FailureKind.TRANSIENT, f"had no answer within {options.timeout_s:g} s") from None
            except PermanentError as error:
                raise _failed(FailureKind.REFUSED, f"cannot be made: {error}") from None
            except TransientError as error:
                raise _failed(FailureKind.TRANSIENT, f"failed: {error}", error.retry_after_s or 0) from None
        return _read(answer)

    async def _call(self, options: PrepareOptions, url: str | None, headers: Mapping[str, str], body: bytes) -> Answer:
        if url is None:
            assert options.app is not None
            assert options.method is not None
            if not self._is_allowed(f"{options.app}/{options.method}"):
                raise PermanentError(f"--prepare-apps does not name {options.app}/{options.method}")
            return await self.sources.invoker.invoke(options.app, options.method, body, options.timeout_s)
        endpoint = parse_http_url(url)
        try:
            addresses = await checked_addresses(endpoint, self.resolver, self.guard)
        except DialError as error:
            failure = error.failure
            raise _failed(failure.kind, f"cannot be made: {failure.reason}", failure.retry_after_s) from None
        return await self.sources.http.post(ascii_http_url(url, endpoint), addresses, headers, body, options.timeout_s)

    def _is_allowed(self, named: str) -> bool:
        return any(
            named.startswith(entry[:-1]) if entry.endswith("*") else named == entry for entry in self.sources.apps
        )


def _read(answer: Answer) -> PrepareAnswer:
    if not 200 <= answer.status < 300:
        failure = classify_status(answer.status, answer.retry_after_s)
        raise _failed(failure.kind, f"was answered HTTP {answer.status}", failure.retry_after_s)
    try:
        read: PrepareAnswer = PrepareAnswer.read(orjson.loads(answer.body or b"{}"))
    except orjson.JSONDecodeError:
        raise _failed(FailureKind.REFUSED, "was answered by what is no JSON") from None
    except InvalidInputError as error:
        fields = sorted({problem.where.partition(".")[0] or "its form" for problem in error.problems})
        raise _failed(FailureKind.REFUSED, f"was answered by what cannot be used: {', '.join(fields)}") from None
    return read


def _failed(kind: FailureKind, what: str, retry_after_s: float = 0) -> DialError:
    return DialError(Failure(kind, f"{WHO} {what}", retry_after_s))
