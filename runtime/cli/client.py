"""Speaks to a sidecar, or to the embedded endpoint, which has the shape of one."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import orjson
import typer

EXIT_REFUSED, EXIT_USAGE, EXIT_UNREACHABLE, EXIT_TIMEOUT = 1, 2, 3, 4
CALL_TIMEOUT_S = 30


class CallFailed(Exception):
    """A call that did not bring an answer; `exit_code` is what the command ends with."""

    def __init__(self, message: str, exit_code: int, status: int | None = None) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.status = status


class Client:
    """One session; no ambient proxy."""

    def __init__(self) -> None:
        self.base = f"http://127.0.0.1:{os.environ.get('DAPR_HTTP_PORT', '3500')}"
        self.app_id = os.environ.get("WSM_HANDLERS_APP_ID", "websocket-handlers")
        token = os.environ.get("DAPR_API_TOKEN")
        self._headers = {"dapr-api-token": token} if token else {}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Client:
        timeout = aiohttp.ClientTimeout(total=CALL_TIMEOUT_S)
        self._session = aiohttp.ClientSession(headers=self._headers, timeout=timeout, trust_env=False)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._session is not None
        await self._session.close()

    async def call(self, method: str, **body: Any) -> Any:
        """Invoke a method of the handlers' app and return its JSON. Raises CallFailed."""
        assert self._session is not None
        url = f"{self.base}/v1.0/invoke/{self.app_id}/method/{method}"
        data = orjson.dumps({key: value for key, value in body.items() if value is not None})
        headers = {"Content-Type": "application/json"}
        try:
            async with self._session.post(url, data=data, headers=headers) as answer:
                text = await answer.read()
                if answer.status == 200:
                    return orjson.loads(text)
                raise CallFailed(_message(text, answer.status), EXIT_REFUSED, answer.status)
        except TimeoutError:
            raise CallFailed(f"{self.base} did not answer within {CALL_TIMEOUT_S} s", EXIT_TIMEOUT) from None
        except aiohttp.ClientConnectionError:
            raise self._unreachable() from None
        except (aiohttp.ClientError, orjson.JSONDecodeError):
            raise CallFailed(f"what answers at {self.base} is no sidecar", EXIT_UNREACHABLE) from None

    async def tail(self, topics: list[str]) -> AsyncIterator[dict[str, Any]]:
        """CloudEvents as they come, until the other side ends. Raises CallFailed."""
        assert self._session is not None
        no_limit = aiohttp.ClientTimeout(total=None)
        params = [("topic", topic) for topic in topics]
        try:
            async with self._session.get(f"{self.base}/v1.0/tail", params=params, timeout=no_limit) as answer:
                if answer.status != 200:
                    raise CallFailed(_message(await answer.read(), answer.status), EXIT_REFUSED, answer.status)
                rest = b""
                async for chunk in answer.content.iter_any():
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in lines:
                        if line.strip():
                            yield orjson.loads(line)
        except aiohttp.ClientConnectionError:
            raise self._unreachable() from None
        except aiohttp.ClientPayloadError:
            raise CallFailed("the manager has ended the stream", EXIT_REFUSED) from None

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
            raise CallFailed(f"the command has not ended within {patience_s:g} s", EXIT_TIMEOUT) from None

    async def _outcome(self, command_id: str, connection_id: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = await self.call("outcome", commandId=command_id, id=connection_id)
        except CallFailed as failed:
            if failed.status == 404:
                return None
            raise
        return found

    def _unreachable(self) -> CallFailed:
        text = f"nothing answers at {self.base}: start a manager with `wsm run`, or set DAPR_HTTP_PORT"
        return CallFailed(text, EXIT_UNREACHABLE)


def _message(body: bytes, status: int) -> str:
    try:
        answer = orjson.loads(body)
        text = str(answer["message"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        text = body[:500].decode(errors="replace")
    hint = "; set DAPR_API_TOKEN" if status == 401 else ""
    return f"{text or 'no reason was given'} (HTTP {status}){hint}"


def fail(failed: CallFailed) -> typer.Exit:
    """Say why on standard error, and end with the right code."""
    typer.echo(f"error: {failed}", err=True)
    return typer.Exit(failed.exit_code)
