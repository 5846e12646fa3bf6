"""Name resolution on an executor of its own: ten slow look-ups once held the default one."""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor

from runtime.failure import DialError, Failure, FailureKind

_THREADS = 16


class SystemResolver:
    """getaddrinfo, so that every spelling of an address (`0x7f.1`, `2130706433`) is judged as what it resolves to."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="dns")

    async def resolve(self, host: str, port: int) -> list[str]:
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(self._executor, _look_up, host, port)
        except (OSError, UnicodeError) as error:
            reason = f"the host name cannot be resolved: {getattr(error, 'strerror', None) or error}"
            raise DialError(Failure(FailureKind.TRANSIENT, reason)) from error
        return list(dict.fromkeys(found))

    def close(self) -> None:
        """Let go of the threads."""
        self._executor.shutdown(wait=False, cancel_futures=True)


def _look_up(host: str, port: int) -> list[str]:
    infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return [str(address[0]) for _, _, _, _, address in infos]
