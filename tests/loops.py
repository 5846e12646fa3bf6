"""Runs a coroutine test on the loop of the standard library and on uvloop, which is the one of the real process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from inspect import Parameter, signature
from typing import Any

import pytest
import uvloop


def on_both_loops(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
    @wraps(test)
    def run(*args: Any, new_loop: Callable[[], asyncio.AbstractEventLoop], **kwargs: Any) -> None:
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(test(*args, **kwargs))

    before = signature(test)
    parameters = [*before.parameters.values(), Parameter("new_loop", Parameter.KEYWORD_ONLY)]
    run.__signature__ = before.replace(parameters=parameters)
    return run
