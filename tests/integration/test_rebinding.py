"""A name whose answer changes between look-ups leads to no address that was not checked: DNS rebinding."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from runtime.failure import FailureKind
from runtime.guard import Guard
from runtime.guard.entries import read_allowed
from runtime.host.dialing import GuardedDialer
from tests.dialling import OPTIONS, failure_of
from tests.dials import ChangingResolver, CountingDialer
from tests.loops import on_both_loops
from tests.peers import Peer, Talk, behave, listening, until

pytestmark = pytest.mark.integration
OPEN, FORBIDDEN = "127.0.0.2", "127.0.0.1"  # the first stands for a public address
GUARD = Guard(allow_private=False, allow=read_allowed(OPEN))


@asynccontextmanager
async def listening_on_both() -> AsyncIterator[tuple[Peer, Peer]]:
    async with listening(behave, host=OPEN) as public, listening(behave, host=FORBIDDEN, port=public.port) as private:
        yield public, private


@pytest.fixture
def no_other_look_up(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Whoever asks the system for the name after the check is found out."""
    asked: list[object] = []
    real = socket.getaddrinfo

    def getaddrinfo(host: object, *args: object, **options: object) -> object:
        if host in ("rebound.test", b"rebound.test"):
            asked.append(host)
            raise socket.gaierror("nobody may ask again")
        return real(host, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


@on_both_loops
async def test_the_address_that_was_checked_is_the_one_that_is_dialled(no_other_look_up):
    resolver, counting = ChangingResolver([OPEN], [FORBIDDEN]), CountingDialer()
    guarded = GuardedDialer(resolver, counting, GUARD, 1)
    async with listening_on_both() as (public, private):
        (await guarded.dial(f"ws://rebound.test:{public.port}/", OPTIONS)).close_now()
        assert (public.dials, private.dials) == (1, 0)
    assert resolver.asked == ["rebound.test"]
    assert counting.dials == [(OPEN,)]
    assert no_other_look_up == []


@on_both_loops
async def test_an_answer_that_has_become_forbidden_is_refused_at_the_redial_and_a_good_one_dialled_again():
    resolver, counting = ChangingResolver([OPEN], [FORBIDDEN], [OPEN, FORBIDDEN], [OPEN]), CountingDialer()
    guarded = GuardedDialer(resolver, counting, GUARD, 1)
    async with listening_on_both() as (public, private):
        url = f"ws://rebound.test:{public.port}/"
        (await guarded.dial(url, OPTIONS)).close_now()
        for _ in range(2):
            failure = await failure_of(guarded.dial(url, OPTIONS))
            assert failure.kind is FailureKind.REFUSED
            assert failure.reason.startswith("the guard refuses 127.0.0.1: loopback 127.0.0.0/8")
        (await guarded.dial(url, OPTIONS)).close_now()
        assert (public.dials, private.dials) == (2, 0)
    assert counting.dials == [(OPEN,), (OPEN,)]
    assert len(resolver.asked) == 4


async def test_a_dial_that_waits_for_its_slot_goes_to_what_was_checked_before_the_wait():
    resolver, counting = ChangingResolver([OPEN], [OPEN], [FORBIDDEN]), CountingDialer()
    guarded = GuardedDialer(resolver, counting, GUARD, max_handshakes=1)
    may_shake = asyncio.Event()

    async def shake_late(talk: Talk) -> None:
        await may_shake.wait()
        await behave(talk)

    async with (
        listening(shake_late, host=OPEN) as public,
        listening(behave, host=FORBIDDEN, port=public.port) as private,
        asyncio.TaskGroup() as group,
    ):
        url = f"ws://rebound.test:{public.port}/"
        dials = [group.create_task(guarded.dial(url, OPTIONS)) for _ in range(2)]
        await until(lambda: len(resolver.asked) == 2 and public.dials == 1, "one is dialled and the other waits")
        refused = await failure_of(guarded.dial(url, OPTIONS))  # the name leads elsewhere by now
        assert "loopback" in refused.reason
        may_shake.set()
        for dial in dials:
            (await dial).close_now()
        assert (public.dials, private.dials) == (2, 0)


async def test_a_name_that_lists_refuse_is_not_even_looked_up():
    resolver, counting = ChangingResolver([OPEN]), CountingDialer()
    for guard in (Guard(True, deny=read_allowed("rebound.test")), Guard(True, allow_only=read_allowed("other.test"))):
        failure = await failure_of(GuardedDialer(resolver, counting, guard, 1).dial("ws://rebound.test/", OPTIONS))
        assert failure.reason.startswith("the guard refuses rebound.test: ")
    assert (resolver.asked, counting.dials) == ([], [])


async def test_a_name_with_a_dot_at_its_end_is_asked_for_so_and_shaken_hands_with_without_it():
    async def talk(talk: Talk) -> str:
        return await talk.accept()

    resolver = ChangingResolver([OPEN])
    async with listening(talk, host=OPEN) as peer:
        guarded = GuardedDialer(resolver, CountingDialer(), GUARD, 1)
        (await guarded.dial(f"ws://Bücher。test.:{peer.port}/größe", OPTIONS)).close_now()
        await until(lambda: peer.results, "the peer has seen the handshake")
        assert resolver.asked == ["xn--bcher-kva.test."]
        assert f"Host: xn--bcher-kva.test:{peer.port}\r\n" in str(peer.results[0])
        assert "GET /gr%C3%B6%C3%9Fe HTTP/1.1\r\n" in str(peer.results[0])
