"""What an app answers to `wsm doctor`, and the check that handlers and host share their keys, in virtual time."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import grpc
import orjson
import pytest
from dapr.proto.common.v1.common_pb2 import InvokeResponse
from dapr.proto.runtime.v1.metadata_pb2 import GetMetadataResponse, PubsubSubscription
from google.protobuf.any_pb2 import Any as AnyMessage

from runtime.adapters.dapr import diagnosis as module
from runtime.adapters.dapr.channel import Sidecar
from runtime.adapters.dapr.deliveries import Delivery
from runtime.adapters.dapr.diagnosis import DaprDiagnosis, check_keys_are_shared
from runtime.adapters.dapr.probe import StoreFacts
from runtime.adapters.embedded.diagnosis import EmbeddedDiagnosis, why_away
from runtime.adapters.memory.store import MemoryStore
from runtime.dapr import Inbound
from runtime.errors import InvalidInputError, PermanentError, StoreError
from runtime.models.events import PROBE, Event
from runtime.ports import DEFAULT_NAMES
from runtime.settings import Profile, Settings
from tests.embedded import Observed
from tests.unit.world import World
from tests.virtual_time import virtual_time

KEY = "websocket.probe." + "0" * 32


def away() -> grpc.aio.AioRpcError:
    return grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata())


class FakeSidecar(Sidecar):
    """Answers invocations as a host with the given store would; the first `absent` calls find no host."""

    def __init__(self, store: MemoryStore | None = None, *, absent: int = 0, topics: tuple[str, ...] = ()) -> None:
        self.store, self.absent, self.topics, self.address = store or MemoryStore(), absent, topics, "fake"

    async def call(self, method: str, request: Any, answer: Any, deadline_s: float = 5) -> Any:
        assert (method, request.id, request.message.method) == ("InvokeService", "websocket-host", "seesKey")
        if self.absent:
            self.absent -= 1
            raise away()
        key = json.loads(request.message.data.value)["key"]
        return InvokeResponse(data=AnyMessage(value=orjson.dumps({"sees": key in self.store.values})))

    async def look(self, deadline_s: float = 2) -> GetMetadataResponse:
        if self.absent:
            raise away()
        return GetMetadataResponse(subscriptions=[PubsubSubscription(topic=topic) for topic in self.topics])


@virtual_time
async def test_shared_keys_are_found_as_soon_as_a_host_answers_and_nothing_is_left():
    store, observed = MemoryStore(), Observed()
    await check_keys_are_shared(FakeSidecar(store, absent=5), store, DEFAULT_NAMES, observed)
    assert observed.logs == [("keys_are_shared", {"host": "websocket-host"})]
    assert store.values == {}


@virtual_time
async def test_keys_that_the_host_does_not_see_are_a_permanent_error():
    store = MemoryStore()
    with pytest.raises(PermanentError, match="keyPrefix 'name' or 'none'"):
        await check_keys_are_shared(FakeSidecar(), store, DEFAULT_NAMES, Observed())
    assert store.values == {}


@virtual_time
async def test_a_store_that_is_away_proves_nothing():
    failures = 4

    async def fail(operation: str, key: str) -> None:
        nonlocal failures
        if failures:
            failures -= 1
            raise StoreError("away")

    store = MemoryStore(fail)
    await check_keys_are_shared(FakeSidecar(store), store, DEFAULT_NAMES, Observed())
    assert failures == 0


@virtual_time
async def test_an_app_tells_what_it_is():
    about = await DaprDiagnosis(FakeSidecar(), DEFAULT_NAMES, "host", "host-1").about()
    assert (about["profile"], about["mode"], about["instance"]) == ("dapr", "host", "host-1")
    assert about["names"]["pubsub"] == "pubsub"


async def test_the_probe_of_the_store_is_told_in_words(monkeypatch: pytest.MonkeyPatch):
    async def probed(_sidecar: Sidecar, store: str) -> StoreFacts:
        assert store == "statestore"
        return StoreFacts("OK", "OK", "ABORTED", "ABORTED", False, True)

    monkeypatch.setattr(module, "probe_store", probed)
    told = await DaprDiagnosis(FakeSidecar(), DEFAULT_NAMES, "host", None).probe_store()
    assert len(told["problems"]) == len(told["warnings"]) == 1


@virtual_time
async def test_only_keys_of_a_probe_may_be_asked_for():
    world = World()
    assert await world.command("seesKey", key=KEY) == {"sees": False}
    await world.store.put(KEY, b"1", None)
    assert await world.command("seesKey", key=KEY) == {"sees": True}
    for key in ("websocket-a", "websocket.probe.", KEY + "0", "x" + KEY):
        with pytest.raises(InvalidInputError):
            await world.command("seesKey", key=key)


@virtual_time
async def test_a_manager_of_no_profile_knows_nothing_of_itself():
    world = World()
    assert await world.command("about") == {}
    assert await world.command("probeStore") == {"problems": [], "warnings": []}


async def test_the_store_of_the_embedded_profile_has_nothing_to_find_out(tmp_path: Any):
    diagnosis = EmbeddedDiagnosis(tmp_path, "stdout", lambda: None)
    assert await diagnosis.probe_store() == {"problems": [], "warnings": []}


async def test_a_sink_that_does_not_answer_is_away_in_bounded_time(monkeypatch: pytest.MonkeyPatch):
    async def hang(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("runtime.adapters.embedded.diagnosis.PATIENCE_S", 0.01)
    monkeypatch.setattr(asyncio, "open_connection", hang)
    assert "no answer" in (await why_away("https://sink.example") or "")


def inbound_of(world: World) -> Inbound:
    inbound = Inbound(Settings(profile=Profile.DAPR), "host-1")
    inbound.manager = world.manager
    return inbound


def probe(id_: str) -> Delivery:
    return Delivery(Event(id_, "websocket-commands", PROBE, "", "", b"{}"), "websocket-commands")


@virtual_time
async def test_a_probe_on_the_topic_of_commands_leaves_a_key_and_is_no_command():
    world = World()
    receive = inbound_of(world).triggers().topics["websocket-commands"].receive
    await receive(probe("0" * 32))
    await receive(probe("0" * 32))  # a repeat
    assert list(world.store.values) == [KEY]
    assert not len(world.announcer.queue)
    await receive(probe("not-one"))
    assert list(world.store.values) == [KEY]
    assert len(world.announcer.queue) > 0, "any other id is a command, and a bad one"


@virtual_time
async def test_a_host_notes_its_subscription_and_the_age_of_its_last_tick():
    world = World()
    inbound = inbound_of(world)
    notes = inbound.notes_from(FakeSidecar(topics=("websocket-host-host-1",)))
    assert await notes() == {"isSubscribed": True, "cronAgeS": None}
    await inbound.triggers().bindings["health-sweep"](b"", {})
    await asyncio.sleep(3)
    assert await notes() == {"isSubscribed": True, "cronAgeS": 3.0}
    assert (await inbound.notes_from(FakeSidecar(topics=("other",)))())["isSubscribed"] is False
    assert await inbound.notes_from(FakeSidecar(absent=1))() == {}
    heard = [world.resident.sweeper.is_deaf]
    assert (await inbound.notes_from(FakeSidecar(topics=("other",)))())["isSubscribed"] is False
    heard.append(world.resident.sweeper.is_deaf)
    await notes()
    assert [*heard, world.resident.sweeper.is_deaf] == [False, True, False], "it must be missing twice in a row"


def test_names_of_a_newer_version_are_passed_over():
    from runtime.cli.sidecar_examination import names_of

    assert names_of({"names": {"pubsub": "p", "newer": "x"}}) == replace(DEFAULT_NAMES, pubsub="p")
    assert names_of({}) == DEFAULT_NAMES
