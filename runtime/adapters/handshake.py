"""What the websockets library is told for the handshake of one dial."""

from __future__ import annotations

import ssl
from typing import Any

from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

from runtime.adapters.tls import TlsContexts, default_tls
from runtime.ports import Dial

_LARGEST_WINDOW = 15
_MEMORY_LEVEL = 5  # of 9: what the library itself takes, with a quarter of zlib's default memory


def handshake_arguments(dial: Dial, contexts: TlsContexts, default: ssl.SSLContext | None) -> dict[str, Any]:
    """TLS, headers, subprotocols and extensions. Raises DialError."""
    options, handshake = dial.options, dial.handshake
    arguments: dict[str, Any] = {"ssl": None, "server_hostname": None}
    if dial.endpoint.secure:
        tls = handshake.tls
        arguments["ssl"] = contexts.context(tls) if tls is not None else default or default_tls()
        arguments["server_hostname"] = (tls.server_name if tls is not None else None) or dial.endpoint.host
    if handshake.headers:
        arguments["additional_headers"] = handshake.headers
    if options.subprotocols:
        arguments["subprotocols"] = list(options.subprotocols)
    if options.origin is not None:
        arguments["origin"] = options.origin
    if options.user_agent is not None:
        arguments["user_agent_header"] = options.user_agent
    if options.permessage_deflate:
        arguments["extensions"] = [_deflate(options.deflate_window_bits)]
    return arguments


def _deflate(window_bits: int) -> ClientPerMessageDeflateFactory:
    """The largest window is every server's: some that can compress cannot agree on a smaller one."""
    return ClientPerMessageDeflateFactory(
        server_max_window_bits=window_bits if window_bits < _LARGEST_WINDOW else None,
        client_max_window_bits=window_bits if window_bits < _LARGEST_WINDOW else True,
        compress_settings={"memLevel": _MEMORY_LEVEL},
    )
