"""Speaks to a sidecar, or to the embedded endpoint, which has the shape of one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any, NoReturn

import aiohttp
import orjson

from runtime.cli.calls import EXIT_REFUSED, EXIT_TIMEOUT, EXIT_UNREACHABLE, CallFailed
from runtime.settings import EndpointSettings

CALL_TIMEOUT_S = 30.0
APP_PATIENCE_S = 15.0  # a sidecar looks at its app every 5 s
LOOK_AGAIN_S = 0.3
_APP_NOT_SEEN_YET = b"app is not in a healthy state"
TAIL_SILENCE_S = 60.0  # the endpoint sends an empty line every 15 s


class Client:
    """One session; no ambient proxy."""

    def __init__(self, settings: EndpointSettings, timeout_s: float = CALL_TIMEOUT_S) -> None:
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        self.base = f"http://{host}:{settings.port}"
        self.app_id = settings.handlers_app_id
        self._token, self._timeout_s = settings.token(), timeout_s
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Client:
        headers = {"dapr-api-token": self._token} if self._token else {}
        timeout = aiohttp.ClientTimeout(total=self._timeout_s)
        self._session = aiohttp.ClientSession(headers=headers, timeout=timeout, trust_env=False)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._session is not None
        await self._session.close()

    async def command(self, method: str, **body: Any) -> dict[str, Any]:
        """Give a command and return its outcome. Raises CallFailed."""
        outcome = await self._call(method, body)
        if not isinstance(outcome, dict) or not {"status", "reason", "connectionId"} <= outcome.keys():
            self._no_sidecar()
        return outcome

    async def read_one(self, method: str, **body: Any) -> dict[str, Any]:
        """Ask for one object. Raises CallFailed."""
        found = await self._call(method, body)
        return found if isinstance(found, dict) else self._no_sidecar()

    async def read_many(self, method: str, **body: Any) -> list[dict[str, Any]]:
        """Ask for a list of objects. Raises CallFailed."""
        found = await self._call(method, body)
        if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
            self._no_sidecar()
        return found

    async def _call(self, method: str, body: dict[str, Any]) -> Any:
        """Invoke a method of the handlers' app and return its JSON."""
        path = f"/v1.0/invoke/{self.app_id}/method/{method}"
        data = orjson.dumps({key: value for key, value in body.items() if value is not None})
        status, text = await self._handed_over(path, data)
        if status != 200:
            self._refused(text, status)
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            self._no_sidecar()

    async def _handed_over(self, path: str, data: bytes) -> tuple[int, bytes]:
        """Invoke; again while the sidecar has not looked at an app that has just started: nothing was handed over."""
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + min(self._timeout_s, APP_PATIENCE_S)
        while True:
            status, text = await self.ask("POST", path, data)
            if status != 500 or _APP_NOT_SEEN_YET not in text or loop.time() >= give_up_at:
                return status, text
            await asyncio.sleep(LOOK_AGAIN_S)

    async def ask(
        self, verb: str, path: str, data: bytes | None = None, content_type: str = "application/json"
    ) -> tuple[int, bytes]:
        """Any call: the status and the body of its answer. Raises CallFailed where there is none."""
        assert self._session is not None
        headers = {"Content-Type": content_type} if data is not None else {}
        call = self._session.request(verb, self.base + path, data=data, headers=headers, allow_redirects=False)
        try:
            async with call as answer:
                return answer.status, await answer.read()
        except TimeoutError:
            raise CallFailed(f"{self.base} did not answer within {self._timeout_s:g} s", EXIT_TIMEOUT) from None
        except aiohttp.ClientConnectorError:
            self._unreachable()
        except aiohttp.ClientConnectionError as error:
            self._broke_off(error)
        except aiohttp.ClientError:
            self._no_sidecar()

    async def tail(self, topics: list[str]) -> AsyncGenerator[dict[str, Any]]:
        """CloudEvents as they come, until the other side ends. Raises CallFailed."""
        assert self._session is not None
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._timeout_s, sock_read=TAIL_SILENCE_S)
        params = [("topic", topic) for topic in topics]
        url, has_begun = f"{self.base}/v1.0/tail", False
        try:
            async with self._session.get(url, params=params, timeout=timeout, allow_redirects=False) as answer:
                if answer.status != 200:
                    self._refused(await answer.read(), answer.status)
                has_begun, rest = True, b""
                async for chunk in answer.content.iter_any():
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in lines:
                        if line.strip():
                            yield self._event(line)
        except aiohttp.ClientConnectorError:
            self._unreachable()
        except aiohttp.ClientConnectionError as error:
            if not has_begun:
                self._broke_off(error)
        except aiohttp.ClientError:
            if not has_begun:
                self._no_sidecar()

    def _event(self, line: bytes) -> dict[str, Any]:
        try:
            event = orjson.loads(line)
        except orjson.JSONDecodeError:
            self._no_sidecar()
        return event if isinstance(event, dict) else self._no_sidecar()

    async def end_of(self, command_id: str, connection_id: str, patience_s: float) -> dict[str, Any]:
        """Wait for the end of a send or request. Raises CallFailed after `patience_s`."""
        pause_s = 0.05
        try:
            async with asyncio.timeout(patience_s):
                while True:
                    outcome = await self._outcome(command_id, connection_id)
                    if outcome is not None and outcome["status"] != "accepted":
                        return outcome
                    await asyncio.sleep(pause_s)
                    pause_s = min(0.5, pause_s * 1.5)
        except TimeoutError:
            text = f"not ended within {patience_s:g} s; `wsm outcome {connection_id} {command_id}` tells its end later"
            raise CallFailed(text, EXIT_TIMEOUT) from None

    async def _outcome(self, command_id: str, connection_id: str) -> dict[str, Any] | None:
        try:
            return await self.command("outcome", commandId=command_id, id=connection_id)
        except CallFailed as failed:
            if failed.status == 404:
                return None
            raise

    def _refused(self, body: bytes, status: int) -> NoReturn:
        """Say what an answer with an error status says, if it is of the shape that sidecar and endpoint give it."""
        try:
            text = str(orjson.loads(body)["message"])
        except (orjson.JSONDecodeError, KeyError, TypeError):
            self._no_sidecar(status)
        hint = "; set DAPR_API_TOKEN" if status == 401 else ""
        raise CallFailed(f"{text} (HTTP {status}){hint}", EXIT_REFUSED, status)

    def _unreachable(self) -> NoReturn:
        text = f"nothing answers at {self.base}: start a manager with `wsm run`, or set DAPR_HTTP_PORT"
        raise CallFailed(text, EXIT_UNREACHABLE)

    def _broke_off(self, error: Exception) -> NoReturn:
        raise CallFailed(f"{self.base} broke off without an answer: {error}", EXIT_UNREACHABLE)

    def _no_sidecar(self, status: int = 200) -> NoReturn:
        text = f"what answers at {self.base} is no manager or sidecar (HTTP {status}): set DAPR_HTTP_PORT"
        raise CallFailed(text, EXIT_UNREACHABLE)
