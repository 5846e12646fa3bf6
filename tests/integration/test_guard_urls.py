"""Every URL of the list, dialled by the real chain while somebody listens: refused for its reason, and no dial."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import pytest

from runtime.adapters.check import check_url
from runtime.adapters.resolver import SystemResolver
from runtime.failure import FailureKind
from runtime.guard import Guard
from runtime.host.dialing import GuardedDialer
from tests.dialling import OPTIONS, failure_of
from tests.dials import CountingDialer
from tests.guard_urls import ANSWERS, MALFORMED, REFUSED
from tests.peers import Peer, behave, listening

pytestmark = pytest.mark.integration
STRICT = Guard(allow_private=False)


@asynccontextmanager
async def listening_on_loopback() -> AsyncIterator[list[Peer]]:
    """One port of both loopback addresses, as far as this machine has them."""
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(listening(behave))
        peers = [first]
        with suppress(OSError):  # no IPv6 here, so nothing to reach there
            peers.append(await stack.enter_async_context(listening(behave, host="::1", port=first.port)))
        yield peers


def answers(host: str) -> list[str]:
    assert host in ANSWERS, f"{host} was looked up"
    return ANSWERS[host]


def test_the_list_is_long_and_has_no_url_twice():
    assert len(REFUSED) >= 120
    assert len({url for url, _ in REFUSED}) == len(REFUSED)


async def test_none_of_them_is_dialled_and_each_is_refused_for_its_reason():
    counting = CountingDialer()
    guarded = GuardedDialer(SystemResolver(answers), counting, STRICT, 50)
    wrong = []
    async with listening_on_loopback() as peers:
        for template, reason in REFUSED:
            failure = await failure_of(guarded.dial(template.replace("PORT", str(peers[0].port)), OPTIONS))
            if reason not in failure.reason:
                wrong.append((template, reason, failure.reason))
        assert wrong == []
        assert counting.dials == []
        assert [peer.dials for peer in peers] == [0] * len(peers)


async def test_the_listener_would_have_been_reached_had_the_guard_let_it():
    counting = CountingDialer()
    guarded = GuardedDialer(SystemResolver(answers), counting, Guard(allow_private=True), 50)
    async with listening_on_loopback() as peers:
        for template in (
            "ws://127.1:PORT/",
            "ws://①②⑦.⓪.⓪.①:PORT/",
            "ws://[::ffff:7f00:1]:PORT/",
            "ws://localhost.:PORT/",
        ):
            (await guarded.dial(template.replace("PORT", str(peers[0].port)), OPTIONS)).close_now()
        assert peers[0].dials == len(counting.dials) == 4


@pytest.mark.parametrize(("template", "reason"), MALFORMED)
async def test_what_is_malformed_is_never_tried_again(template, reason):
    guarded = GuardedDialer(SystemResolver(answers), CountingDialer(), STRICT, 1)
    failure = await failure_of(guarded.dial(template.replace("PORT", "1"), OPTIONS))
    assert failure.kind is FailureKind.FORBIDDEN, reason


async def test_check_says_of_each_what_a_dial_does():
    guarded = GuardedDialer(SystemResolver(answers), CountingDialer(), STRICT, 1)
    for template, _ in REFUSED:
        url = template.replace("PORT", "9")
        result = await check_url(url, STRICT, SystemResolver(answers))
        assert not result.is_allowed, url
        assert result.reason == (await failure_of(guarded.dial(url, OPTIONS))).reason
