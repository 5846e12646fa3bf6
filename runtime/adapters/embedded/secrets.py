"""The Secrets port without a sidecar: the store `file` is a JSON file, the store `env` the environment."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path

import orjson

from runtime.errors import NotFoundError, TransientError


class LocalSecrets:
    """Reads the file again for each secret: it may be written anew at any time. An object's members are strings."""

    def __init__(self, file: Path | None, environment: Mapping[str, str] = os.environ) -> None:
        self._file, self._environment = file, environment

    async def secret(self, store: str, name: str) -> str:
        match store:
            case "env":
                return _printable(self._environment.get(name), f"no variable {name}")
            case "file" if self._file is not None:
                return _printable((await self._read(self._file)).get(name), f"no text {name} in the file of secrets")
            case "file":
                raise NotFoundError("no file of secrets: --secrets-file names none")
            case _:
                raise NotFoundError(f"no secret store {store}: there are file and env")

    async def _read(self, file: Path) -> Mapping[str, object]:
        try:
            found = orjson.loads(await asyncio.to_thread(file.read_bytes))
        except FileNotFoundError:
            raise NotFoundError("the file of secrets is not there") from None
        except OSError as error:
            raise TransientError(f"the file of secrets cannot be read: {os.strerror(error.errno or 0)}") from None
        except orjson.JSONDecodeError:  # its text quotes some of the file
            raise TransientError("the file of secrets is not JSON, or only half written") from None
        if not isinstance(found, dict):
            raise NotFoundError("the file of secrets is no JSON object")
        return found


def _printable(value: object, why_not: str) -> str:
    """A text that can go into UTF-8."""
    if not isinstance(value, str):
        raise NotFoundError(why_not)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise NotFoundError(f"{why_not} that is UTF-8") from None
    return value
