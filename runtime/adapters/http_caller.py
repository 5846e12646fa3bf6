"""The HttpCaller port: one POST to addresses that were checked, without redirects, proxies or cookies."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from multidict import CIMultiDict
from typing_extensions import override
from yarl import URL

from runtime.adapters.retry_after import retry_after_s
from runtime.adapters.tls import default_tls
from runtime.errors import PermanentError, TransientError
from runtime.sources import Answer

MAX_ANSWER_BYTES = 256 * 1024
_HEADERS = {"Content-Type": "application/json", "Accept": "application/json", "Accept-Encoding": "identity"}


@dataclass(slots=True)
class _Pinned(AbstractResolver):
    """Knows the checked addresses, whatever it is asked for."""

    addresses: tuple[str, ...]

    @override
    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in self.addresses
        ]

    @override
    async def close(self) -> None:
        pass


class PinnedHttp:
    """A connection for each call: they are few, and one that is kept would go to an address checked long ago."""

    async def post(
        self, url: str, addresses: tuple[str, ...], headers: Mapping[str, str], body: bytes, timeout_s: float
    ) -> Answer:
        connector = aiohttp.TCPConnector(
            resolver=_Pinned(addresses), use_dns_cache=False, force_close=True, ssl=default_tls()
        )
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        jar = aiohttp.DummyCookieJar()
        async with aiohttp.ClientSession(
            connector=connector, timeout=timeout, trust_env=False, cookie_jar=jar, auto_decompress=False
        ) as session:
            try:
                return await _post(session, URL(url, encoded=True), _all(headers), body)
            except TimeoutError:
                raise TransientError("no answer in time") from None
            except (aiohttp.ClientError, OSError) as error:  # their texts may hold the URL
                raise TransientError(f"it cannot be reached ({type(error).__name__})") from None
            except ValueError:
                raise PermanentError("its URL or a header cannot be sent") from None


def _all(headers: Mapping[str, str]) -> CIMultiDict[str]:
    both = CIMultiDict(headers)
    both.update(_HEADERS)
    return both


async def _post(session: aiohttp.ClientSession, url: URL, headers: Mapping[str, str], body: bytes) -> Answer:
    async with session.post(url, data=body, headers=headers, allow_redirects=False) as answer:
        content = bytearray()
        async for part in answer.content.iter_any():
            content += part
            if len(content) > MAX_ANSWER_BYTES:
                raise PermanentError(f"its answer is larger than {MAX_ANSWER_BYTES} bytes")
        return Answer(answer.status, bytes(content), retry_after_s(answer.headers.get("Retry-After")))
