"""The one table: trigger → model → function."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from handlers.connect import connect
from handlers.dead_letters import DeadLettersQuery, read_dead_letters, replay_dead_letters
from handlers.diagnosis import AboutQuery, ProbeStoreQuery, SeesKeyQuery, probe_store, read_about, sees_key
from handlers.disconnect import disconnect
from handlers.drain import drain
from handlers.health_sweep import health_sweep
from handlers.reads import (
    ConnectionQuery,
    ConnectionsQuery,
    InstancesQuery,
    OutcomeQuery,
    read_connection,
    read_connections,
    read_instances,
    read_outcome,
)
from handlers.reconnect import reconnect
from handlers.request import request
from handlers.send import send
from handlers.set_tags import set_tags
from handlers.start_publish import start_publish
from handlers.stop_publish import stop_publish
from runtime.context import Context
from runtime.judging import Order
from runtime.models.commands import (
    BaseCommand,
    Connect,
    Disconnect,
    Drain,
    Reconnect,
    Request,
    Send,
    SetTags,
    StartPublish,
    StopPublish,
)
from runtime.models.outcome import Outcome
from runtime.models.wire import WireModel


@dataclass(frozen=True, slots=True)
class Route:
    """The model that a trigger's JSON is read as, and the function that it is given to."""

    model: type[BaseCommand]
    handle: Callable[[Any, Order, Context], Awaitable[Outcome]]


@dataclass(frozen=True, slots=True)
class Query:
    """What is no command: its model and its function, which returns a JSON value."""

    model: type[WireModel]
    handle: Callable[[Any, Context], Awaitable[Any]]


ROUTES: dict[str, Route] = {
    "connect": Route(Connect, connect),
    "disconnect": Route(Disconnect, disconnect),
    "reconnect": Route(Reconnect, reconnect),
    "startPublish": Route(StartPublish, start_publish),
    "stopPublish": Route(StopPublish, stop_publish),
    "send": Route(Send, send),
    "request": Route(Request, request),
    "setTags": Route(SetTags, set_tags),
    "drain": Route(Drain, drain),
}

QUERIES: dict[str, Query] = {
    "connections": Query(ConnectionsQuery, read_connections),
    "connection": Query(ConnectionQuery, read_connection),
    "instances": Query(InstancesQuery, read_instances),
    "outcome": Query(OutcomeQuery, read_outcome),
    "about": Query(AboutQuery, read_about),
    "probeStore": Query(ProbeStoreQuery, probe_store),
    "seesKey": Query(SeesKeyQuery, sees_key),
    "deadLetters": Query(DeadLettersQuery, read_dead_letters),
    "replayDeadLetters": Query(DeadLettersQuery, replay_dead_letters),
}

SWEEP: Callable[[Context], Awaitable[Any]] = health_sweep
