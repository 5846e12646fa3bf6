"""Commands of every kind, on a whole manager with a running host: each has one end, and none ends the manager."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from handlers import QUERIES, ROUTES
from runtime.errors import PermanentError
from runtime.models.outcome import OutcomeStatus
from runtime.models.status import ConnectionStatus
from runtime.records import Records
from tests.fuzz.effort import effort
from tests.fuzz.plausible import IDS, plausible_command, plausible_options
from tests.fuzz.values import anything, as_bytes, clean_text, mutated, mutated_bytes
from tests.unit.world import URL, World
from tests.virtual_time import virtual_time

_OURS = {"keeper_failed", "event_refused", "events_lost", "record_quarantined", "outbox_failed", "sweep_failed"}
_structured = st.one_of(plausible_command, mutated(plausible_command), anything)


@st.composite
def _wrapped(draw: st.DrawFn) -> Any:
    """A command as it may arrive: as it is, as a string of JSON, in a CloudEvent, or in several of these."""
    found = draw(_structured)
    for _ in range(draw(st.integers(0, 4))):
        if draw(st.booleans()):
            found = json.dumps(found, ensure_ascii=draw(st.booleans()))
        else:
            found = {
                "specversion": "1.0",
                "id": draw(st.sampled_from(["e1", "e2", "", 7]) | clean_text),
                "source": draw(clean_text),
                "data": found,
            }
            if draw(st.booleans()):
                found["time"] = draw(anything)
    return found


_body = st.one_of(_wrapped().map(as_bytes), mutated_bytes(_wrapped().map(as_bytes)), st.binary(max_size=60))
_filter = dict.fromkeys(["ids", "tag", "status", "owner", "commandId", "key"], anything)
_query = st.binary(max_size=20) | st.fixed_dictionaries({}, optional={"id": st.sampled_from(IDS), **_filter}).map(
    as_bytes
)
_plain = plausible_command.map(lambda found: ("deliver", "", as_bytes(found)))
_called = plausible_command.map(lambda found: ("invoke", str(found["command"]), as_bytes(found)))
_step = st.one_of(
    _plain,
    _plain,
    _called,
    _called,
    st.tuples(st.just("deliver"), st.just(""), _body),
    st.tuples(st.just("invoke"), st.sampled_from(sorted(ROUTES)), _body),
    st.tuples(st.just("ask"), st.sampled_from(sorted(QUERIES)) | clean_text, _query),
    st.tuples(st.just("wait"), st.just(""), st.just(b"")),
)


class _Fuzzed:
    """A world, and what was said of each command."""

    def __init__(self) -> None:
        self.world = World()
        self.ended: list[str] = []
        self.rejected: list[bytes] = []

    async def take(self, kind: str, method: str, body: bytes) -> None:
        dispatch = self.world.dispatch
        match kind:
            case "deliver":
                outcome = await dispatch.deliver(body)
                self.ended.append(outcome.event_id)
                if outcome.status is OutcomeStatus.REJECTED:
                    self.rejected.append(body)
                self._is_said_well(outcome.to_wire())
            case "invoke":
                answer = json.loads(await dispatch.invoke(method, body))
                self.ended.append(f"outcome.{answer['commandId']}.{answer['status']}")
                self._is_said_well(answer)
            case "ask":
                try:
                    json.loads(await dispatch.invoke(method, body))
                except PermanentError as error:  # the store is in order: nothing is worth another try
                    self._are_words(str(error))
            case _:
                await self.world.settle(70)

    def _is_said_well(self, outcome: dict[str, Any]) -> None:
        assert outcome["commandId"]
        self._are_words(outcome["reason"])

    def _are_words(self, text: str) -> None:
        assert text.strip()

    async def check(self) -> None:
        world = self.world
        await world.settle(70)
        published = [event.id for event in world.publisher.events]
        for event_id in self.ended:
            assert event_id in published
            published.remove(event_id)
        letters = await world.dead_letters.read()
        assert sorted(letter.event.data for letter in letters) == sorted(self.rejected)
        records = Records(world.store, world.clock, world.random)
        ids = await records.ids()
        for key in world.store.values:
            if key.startswith("websocket-") and key != "websocket-index":
                assert key.removeprefix("websocket-") in ids
        for id_ in ids:
            await records.get(id_)
            await records.outbox(id_)
        assert not {event for event, _ in world.observer.warnings} & _OURS
        await world.connect("healthy")
        assert (await world.record("healthy")).status is ConnectionStatus.CONNECTED


@effort(200)
@given(plausible_options, st.lists(_step, min_size=2, max_size=8))
def test_whatever_arrives_has_one_end_that_is_told_and_kept_and_nothing_breaks(
    options: dict[str, Any], steps: list[tuple[str, str, bytes]]
):
    @virtual_time
    async def run() -> None:
        fuzzed = _Fuzzed()
        async with fuzzed.world.running():
            answering = asyncio.create_task(_peers(fuzzed.world))
            first = {"command": "connect", "id": "a", "url": URL, "topic": "t", "options": options}
            await fuzzed.take("deliver", "", as_bytes(first))
            await fuzzed.world.settle(5)
            for step in steps:
                await fuzzed.take(*step)
            await fuzzed.check()
            answering.cancel()

    run()


async def _peers(world: World) -> None:
    """What the sockets that are open hear: answers to everything that may be asked."""
    while True:
        await asyncio.sleep(1)
        for socket in list(world.dialer.sockets):
            if socket.is_open:
                for payload in ('{"a": 1, "id": [0]}', "aaa", b"\xff\x00"):
                    socket.push(payload)
