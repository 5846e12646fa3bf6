"""CloudEvents over HTTP: one POST an event, in order, binary or structured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Literal
from urllib.parse import quote, urlsplit

import aiohttp
import orjson

from runtime.adapters.retry_after import retry_after_s
from runtime.errors import EventRefusedError, PermanentError, PublishError
from runtime.models.events import Event
from runtime.urls import mask_url

TIMEOUT_S = 30
RETRY_AFTER_CAP_S = 3600
_REFUSED = frozenset({400, 413, 415, 422})
# CloudEvents HTTP binding 3.1.3.2: printable ASCII goes as it is, save space, double quote and percent.
_SAFE = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in '"%')


class HttpSink:
    """Posts to one URL. 2xx arrived; 400, 413, 415 and 422 refuse the event for itself; all else is tried again.

    `extensions`: attributes that each CloudEvent gets besides its own; what is published raw has none.
    """

    lanes = 16

    def __init__(
        self,
        url: str,
        mode: Literal["binary", "structured"],
        source: str,
        pubsub: str,
        *,
        extensions: Mapping[str, str] | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        _check(url)
        self._url, self._mode, self._source, self._pubsub, self._timeout_s = url, mode, source, pubsub, timeout_s
        self._extensions = dict(extensions or {})
        self._tail = b",%b}" % orjson.dumps(self._extensions)[1:-1] if self._extensions else b""
        self._session: aiohttp.ClientSession | None = None

    async def write(self, events: Sequence[Event], documents: Sequence[bytes]) -> None:
        for index, (event, document) in enumerate(zip(events, documents, strict=True)):
            await self._post(index, event, document)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _post(self, index: int, event: Event, document: bytes) -> None:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=self._timeout_s)
            self._session = aiohttp.ClientSession(timeout=timeout, trust_env=False)
        where = mask_url(self._url)
        body, headers = self._message(event, document)
        try:
            async with self._session.post(
                self._url, data=BytesIO(body), headers=headers, allow_redirects=False
            ) as answer:
                status = answer.status
                retry_after = retry_after_s(answer.headers.get("Retry-After"), RETRY_AFTER_CAP_S)
        except TimeoutError:
            raise PublishError(f"{where} did not answer within {self._timeout_s:g} s", published=index) from None
        except (aiohttp.ClientError, OSError) as error:
            raise PublishError(f"{where} cannot be reached: {type(error).__name__}", published=index) from None
        if status in _REFUSED:
            raise EventRefusedError(f"{where} answered {status}", index=index)
        if not 200 <= status < 300:
            hint = "; redirects are not followed: use the final URL" if 300 <= status < 400 else ""
            raise PublishError(f"{where} answered {status}{hint}", published=index, retry_after_s=retry_after)

    def _message(self, event: Event, document: bytes) -> tuple[bytes, dict[str, str]]:
        if event.is_raw:
            return document, {"Content-Type": event.content_type}
        if self._mode == "structured":
            whole = document[:-1] + self._tail if self._tail else document
            return whole, {"Content-Type": "application/cloudevents+json"}
        attributes = event.attributes(self._source, self._pubsub) | self._extensions
        headers = {"Content-Type": attributes.pop("datacontenttype")}
        headers |= {f"ce-{name}": quote(value, safe=_SAFE) for name, value in attributes.items() if value}
        return event.data, headers


def _check(url: str) -> None:
    """Raises PermanentError for what can never be posted to."""
    try:
        parts = urlsplit(url)
        is_good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_good = False
    if not is_good:
        raise PermanentError(f"the sink is {mask_url(url)}: it must be stdout or an http:// or https:// URL")
