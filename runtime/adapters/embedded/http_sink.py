"""CloudEvents over HTTP: one POST an event, in order, binary or structured."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal
from urllib.parse import quote

import aiohttp

from runtime.adapters.clock import SystemClock
from runtime.errors import EventRefusedError, PublishError
from runtime.models.events import Event
from runtime.urls import mask_url

TIMEOUT_S = 30
_REFUSED = frozenset({400, 413, 415, 422})
# CloudEvents HTTP binding 3.1.3.2: printable ASCII goes as it is, save space, double quote and percent.
_SAFE = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')


class HttpSink:
    """Posts to one URL. 2xx arrived; 400, 413, 415 and 422 refuse the event for itself; all else is tried again."""

    lanes = 16

    def __init__(self, url: str, mode: Literal["binary", "structured"], source: str, pubsub: str) -> None:
        self._url, self._mode, self._source, self._pubsub = url, mode, source, pubsub
        self._session: aiohttp.ClientSession | None = None

    async def write(self, events: Sequence[Event], documents: Sequence[bytes]) -> None:
        for index, (event, document) in enumerate(zip(events, documents, strict=True)):
            await self._post(index, event, document)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _post(self, index: int, event: Event, document: bytes) -> None:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
            self._session = aiohttp.ClientSession(timeout=timeout, trust_env=False)
        where = mask_url(self._url)
        body, headers = self._message(event, document)
        try:
            async with self._session.post(self._url, data=body, headers=headers, allow_redirects=False) as answer:
                status = answer.status
                retry_after = _retry_after(answer.headers.get("Retry-After"))
        except TimeoutError:
            raise PublishError(f"{where} did not answer within {TIMEOUT_S} s", published=index) from None
        except (aiohttp.ClientError, OSError) as error:
            raise PublishError(f"{where} cannot be reached: {type(error).__name__}", published=index) from None
        if status in _REFUSED:
            raise EventRefusedError(f"{where} answered {status}", index=index)
        if not 200 <= status < 300:
            raise PublishError(f"{where} answered {status}", published=index, retry_after_s=retry_after)

    def _message(self, event: Event, document: bytes) -> tuple[bytes, dict[str, str]]:
        if self._mode == "structured":
            return document, {"Content-Type": "application/cloudevents+json"}
        attributes = event.attributes(self._source, self._pubsub)
        headers = {"Content-Type": attributes.pop("datacontenttype")}
        headers |= {f"ce-{name}": quote(value, safe=_SAFE) for name, value in attributes.items() if value}
        return event.data, headers


def _retry_after(value: str | None) -> float | None:
    """Retry-After (RFC 9110, 10.2.3): seconds or a date; at most an hour."""
    if value is None:
        return None
    if value.strip().isdigit():
        return min(float(value), 3600.0)
    try:
        moment: datetime = parsedate_to_datetime(value)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return min(max(0.0, (moment - SystemClock().now()).total_seconds()), 3600.0)
