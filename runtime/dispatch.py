"""The only place that turns what a handler returns or raises into an answer, a retry or a dead letter."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import NAMESPACE_URL, uuid4, uuid5

import orjson

from runtime.context import Context
from runtime.errors import EventRefusedError, FieldProblem, GarbageRecordError, InvalidInputError, NotFoundError
from runtime.judging import Order, place_in_time
from runtime.models.commands import BaseCommand
from runtime.models.dead_letter import DeadLetter
from runtime.models.events import COMMAND, Event, outcome_event
from runtime.models.outcome import Outcome, OutcomeStatus, outcome_of
from runtime.models.wire import UtcTime, WireModel, format_time
from runtime.ports import NO_METERS, Meters

MAX_COMMAND_BYTES = 4 * 1024 * 1024
MAX_UNWRAPPING = 3


class CommandRoute(Protocol):
    """One line of ROUTES."""

    @property
    def model(self) -> type[BaseCommand]:
        """What the JSON is read as."""

    @property
    def handle(self) -> Callable[[Any, Order, Context], Awaitable[Outcome]]:
        """Who gets it."""


class QueryRoute(Protocol):
    """One read."""

    @property
    def model(self) -> type[WireModel]:
        """What the JSON is read as."""

    @property
    def handle(self) -> Callable[[Any, Context], Awaitable[Any]]:
        """Who gets it."""


class CloudEventAttributes(WireModel):
    """What is used of an incoming CloudEvent."""

    id: str | None = None
    source: str | None = None
    time: UtcTime | None = None


NO_ATTRIBUTES = CloudEventAttributes()


@dataclass(slots=True)
class Dispatch:
    """Reads commands and queries, calls their handlers, announces outcomes.

    `announce` returns when an outcome is as safe as its command must be before that is acknowledged.
    """

    routes: Mapping[str, CommandRoute]
    queries: Mapping[str, QueryRoute]
    context: Context
    announce: Callable[[Event], Awaitable[None]]
    announce_later: Callable[[Event], None]
    meters: Meters = NO_METERS

    async def invoke(self, method: str, body: bytes) -> bytes:
        """A method of service invocation: the outcome of a command or the answer of a read, as JSON.

        Raises NotFoundError for an unknown method, InvalidInputError for a bad query, TransientError.
        """
        if method in self.routes:
            return (await self._invoke_command(method, body)).to_json()
        query = self.queries.get(method)
        if query is None:
            known = ", ".join([*self.routes, *self.queries])
            raise NotFoundError(f"no method '{method[:64]}'; there are {known}")
        return orjson.dumps(await query.handle(query.model.read(_parse(body or b"{}")), self.context))

    async def deliver(
        self, body: bytes, attributes: CloudEventAttributes = NO_ATTRIBUTES, *, problem: str | None = None
    ) -> Outcome:
        """A command from a topic or binding: raw, CloudEvent-wrapped, or a string of JSON.

        What can never work ends as `rejected` and as a dead letter; `problem` is what is known to be wrong before it
        is read. Raises TransientError for what may work later.
        """
        try:
            if problem is not None:
                raise InvalidInputError("command", [FieldProblem("", problem)])
            data, attributes = _unwrap(_parse(body), attributes)
            outcome = await self._run(data, attributes)
        except InvalidInputError as error:
            outcome = self._rejection(error, attributes)
        await self.announce(self._told(outcome))
        if outcome.status is OutcomeStatus.REJECTED:
            await self._bury(body, outcome, attributes)
        return outcome

    async def _invoke_command(self, method: str, body: bytes) -> Outcome:
        try:
            data = _parse(body)
            if not isinstance(data, dict):
                raise InvalidInputError(method, [FieldProblem("", "must be a JSON object")])
            outcome = await self._run({**data, "command": method}, NO_ATTRIBUTES)
        except InvalidInputError as error:
            outcome = self._rejection(error, NO_ATTRIBUTES, method)
        self.announce_later(self._told(outcome))  # the caller is told in any case
        return outcome

    async def _run(self, data: object, attributes: CloudEventAttributes) -> Outcome:
        name = _command_name(data)
        route = self.routes.get(name)
        try:
            if route is None:
                problem = FieldProblem("command", f"must be one of {', '.join(self.routes)}")
                raise InvalidInputError("command", [problem])
            command: BaseCommand = route.model.read(data)
        except InvalidInputError as error:
            outcome = self._rejection(error, attributes, name if route is not None else "unknown")
            return outcome.model_copy(update=_identity(data))
        order = self._order(name, command, attributes)
        try:
            return await route.handle(command, order, self.context)
        except GarbageRecordError as error:  # a person has to look at it; until then nothing can work
            return order.outcome(OutcomeStatus.REJECTED, str(error))

    def _order(self, name: str, command: BaseCommand, attributes: CloudEventAttributes) -> Order:
        now = self.context.clock.now()
        identity = command.command_id or attributes.id
        connection_id = getattr(command, "id", None) if command.is_about_connection else ""
        if connection_id is None:
            seed = command.command_id or (f"{attributes.source}/{attributes.id}" if attributes.id else str(uuid4()))
            connection_id = str(uuid5(NAMESPACE_URL, f"websocket-manager:{seed}"))
        return Order(
            command_id=identity or str(uuid4()),
            command=name,
            connection_id=connection_id,
            issued_at=place_in_time(command.issued_at or attributes.time, now, self.context.limits.max_skew_s),
            now=now,
            max_skew_s=self.context.limits.max_skew_s,
            warnings=tuple(command.warnings),
        )

    def _rejection(self, error: InvalidInputError, attributes: CloudEventAttributes, name: str = "unknown") -> Outcome:
        command_id = attributes.id or str(uuid4())
        return outcome_of(command_id, name, None, OutcomeStatus.REJECTED, str(error), self.context.clock.now())

    def _told(self, outcome: Outcome) -> Event:
        """The event of an outcome, once for each command."""
        self.meters.command_ended(outcome.command, outcome.status)
        return outcome_event(self.context.names.events_topic, outcome)

    async def _bury(self, body: bytes, outcome: Outcome, attributes: CloudEventAttributes) -> None:
        self.meters.dead_lettered()
        names, now = self.context.names, self.context.clock.now()
        id_, subject, time = outcome.command_id, outcome.connection_id or "", format_time(attributes.time or now)
        event = Event(id_, names.commands_topic, COMMAND, subject, time, body, source=attributes.source or "")
        letter = DeadLetter.of(event, outcome.reason, now)
        try:
            await self.announce(letter.carried_to(names.dead_letters_topic))
        except EventRefusedError:  # to ask for the command again would lead here again
            await self.announce(letter.without_data().carried_to(names.dead_letters_topic))


def _parse(body: bytes) -> object:
    if len(body) > MAX_COMMAND_BYTES:
        raise InvalidInputError("command", [FieldProblem("", f"is longer than {MAX_COMMAND_BYTES} bytes")])
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidInputError("command", [FieldProblem("", f"is not JSON: {error}")]) from None


def _unwrap(data: object, attributes: CloudEventAttributes) -> tuple[object, CloudEventAttributes]:
    """Take a command out of a CloudEvent and out of a string of JSON."""
    for _ in range(MAX_UNWRAPPING):
        if isinstance(data, str):
            data = _parse(data.encode())
        elif isinstance(data, dict) and "specversion" in data and "data" in data:
            attributes = CloudEventAttributes.read({k: data[k] for k in ("id", "source", "time") if k in data})
            data = data["data"]
        else:
            break
    return data, attributes


def _command_name(data: object) -> str:
    if not isinstance(data, dict):
        raise InvalidInputError("command", [FieldProblem("", 'must be a JSON object with a "command"')])
    name = next((value for key, value in data.items() if key.lower() == "command"), None)
    return name if isinstance(name, str) else ""


def _identity(data: object) -> dict[str, str]:
    """What can be told of a command that breaks its model, so that its sender finds the rejection."""
    if not isinstance(data, dict):
        return {}
    lower = {key.lower(): value for key, value in data.items()}
    found = {"command_id": lower.get("commandid"), "connection_id": lower.get("id")}
    return {key: value[:256] for key, value in found.items() if isinstance(value, str) and value}
