"""What a dial needs, in clear: the secrets of a record put in their places, after the prepare call, if it has one.

A record holds references only. What is made of them here lives as long as the dial or the socket that needs it, and
nothing of it is shown by `repr`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from typing_extensions import override

from runtime.failure import DialError, Failure, FailureKind
from runtime.host.prepare_call import PrepareCall
from runtime.host.secrets import KeptSecrets
from runtime.host.veil import NO_VEIL, Veil
from runtime.models.connection import WebSocketConnection
from runtime.models.handshake import check_header, check_value
from runtime.models.opening import Step
from runtime.models.options import WebSocketOptions
from runtime.models.prepare import PrepareAnswer
from runtime.models.secrets import SecretReference, Values, fill, fill_message, fill_url, placeholders
from runtime.sources import PLAIN, Handshake, Proxy, TlsMaterial
from runtime.urls import Endpoint, has_user_info, parse_http_url, parse_url

_NO_ANSWER = PrepareAnswer()


class ClearOptions(WebSocketOptions):
    """Options whose messages are in clear."""

    @override
    def __repr__(self) -> str:
        return "ClearOptions()"

    __str__ = __repr__


@dataclass(frozen=True, slots=True)
class Prepared:
    """For one dial: the URL, and what the handshake takes along. `options`: for the session, messages in clear."""

    url: str = field(repr=False)
    handshake: Handshake
    options: WebSocketOptions = field(repr=False)
    secrets: Veil = NO_VEIL


@dataclass(slots=True)
class Preparation:
    """Makes a `Prepared` for each dial."""

    secrets: KeptSecrets
    prepare_call: PrepareCall

    async def prepare(self, record: WebSocketConnection) -> Prepared:
        """Ask the prepare call, then read the secrets. Raises DialError."""
        options = record.options
        if not options.is_prepared and not _references(options):
            return Prepared(record.url, PLAIN, options)
        answer = await self._answer(record)
        endpoint = _endpoint(record.url if answer.url is None else answer.url, is_fresh=answer.url is not None)
        reading = _Reading(self.secrets, options, endpoint)
        url = await reading.url(record.url) if answer.url is None else answer.url
        headers = _merged(await reading.headers(options.headers), answer.headers)
        if has_user_info(url) and any(name.lower() == "authorization" for name in headers):
            raise _refused("the URL has user-info, and there is a header Authorization: only one can be sent")
        handshake = Handshake(headers, await reading.tls(), await self._proxy(options))
        messages = await reading.messages(answer)
        fresh = [*answer.headers.values(), *(value for _, value in parse_qsl(urlsplit(answer.url or "").query))]
        return Prepared(url, handshake, messages, Veil((*reading.known, *fresh)))

    def heed(self, record: WebSocketConnection, failure: Failure) -> None:
        """When what was sent is refused, what it was made of is read again for the next dial."""
        if failure.kind is FailureKind.REFUSED:
            self.secrets.forget(_references(record.options))

    async def _answer(self, record: WebSocketConnection) -> PrepareAnswer:
        prepare = record.options.prepare
        if prepare is None:
            return _NO_ANSWER
        endpoint = parse_http_url(prepare.url) if prepare.url is not None else None
        reading = _Reading(self.secrets, record.options, endpoint)
        url = await reading.url(prepare.url) if prepare.url is not None else None
        headers = await reading.headers(prepare.headers)
        return await self.prepare_call.ask(record, prepare, url, headers)

    async def _proxy(self, options: WebSocketOptions) -> Proxy | None:
        proxy = options.proxy
        if proxy is None:
            return None
        endpoint = parse_http_url(proxy.url)
        if proxy.authorization is None:
            return Proxy(endpoint)
        authorization = await _Reading(self.secrets, options, endpoint).value(proxy.authorization)
        try:
            check_value(authorization)
        except ValueError as error:
            raise _refused(f"the header Proxy-Authorization cannot be sent: {error}") from None
        return Proxy(endpoint, authorization)


@dataclass(frozen=True, slots=True)
class _Reading:
    """Reads what will be sent to one endpoint; None for an app."""

    secrets: KeptSecrets
    options: WebSocketOptions
    to: Endpoint | None
    known: list[str] = field(default_factory=list, repr=False)

    async def url(self, url: str) -> str:
        return await self._filled(url, fill_url)

    async def value(self, value: str | SecretReference) -> str:
        if isinstance(value, SecretReference):
            return await self._secret(value)
        return await self._filled(value, fill)

    async def headers(self, headers: Mapping[str, str | SecretReference]) -> dict[str, str]:
        return _checked({name: await self.value(value) for name, value in headers.items()})

    async def tls(self) -> TlsMaterial | None:
        tls = self.options.tls
        if tls is None or self.to is None or not self.to.secure:
            return None
        return TlsMaterial(
            ca=await self._pem(tls.ca),
            certificate=await self._pem(tls.certificate),
            key=await self._pem(tls.key),
            server_name=tls.server_name,
            minimum_version=tls.minimum_version,
        )

    async def messages(self, answer: PrepareAnswer) -> WebSocketOptions:
        """The options with all of their messages in clear."""
        options, steps, heartbeat = self.options, answer.opening_messages, self.options.heartbeat
        if steps is None:
            steps = tuple([await self._step(step) for step in options.opening_messages])
        if heartbeat is not None and not heartbeat.binary:
            heartbeat = heartbeat.model_copy(update={"data": await self._filled(heartbeat.data, fill_message)})
        clear: dict[str, Any] = {**options.__dict__, "opening_messages": steps, "heartbeat": heartbeat}
        return ClearOptions.model_construct(options.model_fields_set, **clear)

    async def _step(self, step: Step | SecretReference) -> Step:
        if isinstance(step, SecretReference):
            return Step(data=await self._secret(step))
        if step.data is None or step.binary:
            return step
        return step.model_copy(update={"data": await self._filled(step.data, fill_message)})

    async def _pem(self, value: str | SecretReference | None) -> str | None:
        return await self._secret(value) if isinstance(value, SecretReference) else value

    async def _secret(self, reference: SecretReference) -> str:
        secret = await self.secrets.read(reference, self.to)
        self.known.append(secret)
        return secret

    async def _filled(self, text: str, how: Callable[[str, Values], str]) -> str:
        """A text with the secrets that it names. Where a connection has none, `$` means nothing."""
        secrets, values = self.options.secrets, dict[str, str]()
        if not secrets:
            return text
        for name in dict.fromkeys(placeholders(text)):
            if name not in secrets:  # no command writes such a record
                raise _refused(f"${{{name}}} is not among the secrets of the connection")
            values[name] = await self._secret(secrets[name])
        return how(text, values)


def _references(options: WebSocketOptions) -> list[SecretReference]:
    return [*options.references(), *(step for step in options.opening_messages if isinstance(step, SecretReference))]


def _endpoint(url: str, *, is_fresh: bool) -> Endpoint:
    try:
        return parse_url(url)
    except ValueError as error:
        if is_fresh:
            raise _refused(f"the prepare call was answered by a URL that cannot be dialled: {error}") from None
        raise DialError(Failure(FailureKind.FORBIDDEN, str(error))) from None


def _merged(headers: Mapping[str, str], fresh: Mapping[str, str]) -> dict[str, str]:
    """The fresh ones replace those of the same name."""
    replaced = {name.lower() for name in fresh}
    return {name: value for name, value in headers.items() if name.lower() not in replaced} | _checked(fresh)


def _checked(headers: Mapping[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        try:
            check_header(name, value)
        except ValueError as error:
            raise _refused(f"a header cannot be sent: {error}") from None
    return dict(headers)


def _refused(reason: str) -> DialError:
    return DialError(Failure(FailureKind.REFUSED, reason))
