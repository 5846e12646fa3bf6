"""Says why a port cannot be had, and who has it."""

from __future__ import annotations

import errno

import psutil


def why_not(host: str, port: int, error: OSError, option: str = "--port") -> str:
    """What a person is told when listening has failed. `option`: what chooses another port."""
    if error.errno == errno.EADDRINUSE:
        return f"port {port} is taken by {_holder(port)}: stop it or choose another with {option}"
    return f"cannot listen on {host} port {port}: {error.strerror}"


def _holder(port: int) -> str:
    """Who listens on a port, as far as this user may know."""
    try:
        pid = next(
            (
                connection.pid
                for connection in psutil.net_connections("tcp")
                if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr[1] == port
            ),
            None,
        )
        return f"{psutil.Process(pid).name()} (process {pid})" if pid else "another user's process"
    except psutil.Error:
        return "another process"
