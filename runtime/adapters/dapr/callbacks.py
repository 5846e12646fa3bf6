"""What the sidecar calls: topics, input bindings, service invocation and the app's health.

The generated messages on a server of our own, not the SDK's `App`, which acknowledges coroutines without awaiting
them, checks no token and stops without grace.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from traceback import format_exception
from typing import Any

import grpc
from dapr.proto.common.v1.common_pb2 import InvokeRequest, InvokeResponse
from dapr.proto.runtime.v1.appcallback_pb2 import (
    BindingEventRequest,
    BindingEventResponse,
    HealthCheckResponse,
    ListInputBindingsResponse,
    ListTopicSubscriptionsResponse,
    TopicEventBulkRequest,
    TopicEventBulkResponse,
    TopicEventBulkResponseEntry,
    TopicEventRequest,
    TopicEventResponse,
    TopicSubscription,
)
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.empty_pb2 import Empty

from runtime.adapters.dapr.deliveries import Delivery, delivery_of_entry, delivery_of_request
from runtime.errors import InvalidInputError, ManagerError, NotFoundError, PermanentError, TransientError
from runtime.models.events import JSON
from runtime.ports import Observer

MAX_MESSAGE_BYTES = 16 * 1024 * 1024
GRACE_S = 5.0
_CALLBACK = "dapr.proto.runtime.v1.AppCallback"
_HEALTH = "dapr.proto.runtime.v1.AppCallbackHealthCheck"
_ASKED_WITHOUT_TOKEN = frozenset(
    {f"/{_CALLBACK}/ListTopicSubscriptions", f"/{_CALLBACK}/ListInputBindings", f"/{_HEALTH}/HealthCheck"}
)
_SUCCESS = TopicEventResponse.TopicEventResponseStatus.SUCCESS
_RETRY = TopicEventResponse.TopicEventResponseStatus.RETRY


@dataclass(frozen=True, slots=True)
class Subscription:
    """Who gets the events of a topic, and where the sidecar puts what is not taken after all retries."""

    receive: Callable[[Delivery], Awaitable[None]]
    dead_letter_topic: str | None = None


@dataclass(frozen=True, slots=True)
class Triggers:
    """What to do at each call, by the name of the topic or binding.

    What returns is acknowledged; whatever is raised asks for another delivery, which the sidecar's retry policy bounds.
    A binding gets the bytes and the metadata of its message.
    """

    topics: Mapping[str, Subscription] = field(default_factory=dict)
    bindings: Mapping[str, Callable[[bytes, Mapping[str, str]], Awaitable[None]]] = field(default_factory=dict)
    invoke: Callable[[str, bytes], Awaitable[bytes]] | None = None
    is_healthy: Callable[[], bool] = lambda: True


class AppServer:
    """Listens on loopback for the sidecar alone, which shows `token` (APP_API_TOKEN) if there is one."""

    def __init__(self, triggers: Triggers, observer: Observer, *, pubsub: str, port: int, token: str | None) -> None:
        options = [("grpc.max_receive_message_length", MAX_MESSAGE_BYTES), ("grpc.so_reuseport", 0)]
        self._server = grpc.aio.server(interceptors=[_TokenCheck(token)] if token else [], options=options)
        self._server.add_generic_rpc_handlers(_Service(triggers, observer, pubsub).handlers())
        self.port = port

    async def start(self) -> None:
        """Listen; `port` is then the real one, also where 0 was asked for. Raises PermanentError if it is taken."""
        try:
            self.port = self._server.add_insecure_port(f"127.0.0.1:{self.port}")
        except RuntimeError:
            raise PermanentError(f"the app port {self.port} is taken: choose another") from None
        await self._server.start()

    async def stop(self) -> None:
        """Take no more calls, and finish those in flight within a grace."""
        await self._server.stop(GRACE_S)


class _TokenCheck(grpc.aio.ServerInterceptor):  # type: ignore[misc]  # grpc has no types
    """Refuses whoever does not show the token at a call that hands something over.

    The sidecar itself shows none when it asks for names and health (measured on 1.18.2).
    """

    def __init__(self, token: str) -> None:
        self._token = token.encode()

        async def refuse(_request: object, context: Any) -> None:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "dapr-api-token is missing or wrong")

        self._refusal = grpc.unary_unary_rpc_method_handler(refuse)

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        if handler_call_details.method in _ASKED_WITHOUT_TOKEN:
            return await continuation(handler_call_details)
        given = dict(handler_call_details.invocation_metadata or ()).get("dapr-api-token", "")
        given = given if isinstance(given, bytes) else given.encode()
        return await continuation(handler_call_details) if hmac.compare_digest(given, self._token) else self._refusal


class _Service:
    """The services `AppCallback` and `AppCallbackHealthCheck`."""

    def __init__(self, triggers: Triggers, observer: Observer, pubsub: str) -> None:
        self._on, self._observer, self._pubsub = triggers, observer, pubsub

    def handlers(self) -> list[Any]:
        """One for each service."""
        callback = {
            "ListTopicSubscriptions": _method(self.topics, Empty),
            "ListInputBindings": _method(self.bindings, Empty),
            "OnTopicEvent": _method(self.on_event, TopicEventRequest),
            "OnBulkTopicEvent": _method(self.on_events, TopicEventBulkRequest),
            "OnBindingEvent": _method(self.on_binding, BindingEventRequest),
            "OnInvoke": _method(self.on_invoke, InvokeRequest),
        }
        health = {"HealthCheck": _method(self.health, Empty)}
        return [
            grpc.method_handlers_generic_handler(_CALLBACK, callback),
            grpc.method_handlers_generic_handler(_HEALTH, health),
        ]

    async def topics(self, _request: Empty, _context: Any) -> ListTopicSubscriptionsResponse:
        return ListTopicSubscriptionsResponse(
            subscriptions=[
                TopicSubscription(
                    pubsub_name=self._pubsub, topic=topic, dead_letter_topic=subscription.dead_letter_topic or ""
                )
                for topic, subscription in self._on.topics.items()
            ]
        )

    async def bindings(self, _request: Empty, _context: Any) -> ListInputBindingsResponse:
        return ListInputBindingsResponse(bindings=list(self._on.bindings))

    async def on_event(self, request: TopicEventRequest, _context: Any) -> TopicEventResponse:
        return TopicEventResponse(status=await self._take(delivery_of_request(request)))

    async def on_events(self, request: TopicEventBulkRequest, _context: Any) -> TopicEventBulkResponse:
        """One after the other, so that their order is kept."""
        statuses = [
            TopicEventBulkResponseEntry(
                entry_id=entry.entry_id, status=await self._take(delivery_of_entry(request.topic, entry))
            )
            for entry in request.entries
        ]
        return TopicEventBulkResponse(statuses=statuses)

    async def on_binding(self, request: BindingEventRequest, context: Any) -> BindingEventResponse:
        receive = self._on.bindings.get(request.name)
        if receive is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"nobody here listens to the binding {request.name}")
        else:
            try:
                await receive(request.data, dict(request.metadata))
            except Exception as error:  # noqa: BLE001 - whatever it is, the message must come again
                self._warn(error, binding=request.name)
                await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
        return BindingEventResponse()

    async def on_invoke(self, request: InvokeRequest, context: Any) -> InvokeResponse:
        if self._on.invoke is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "this app has no methods")
            return InvokeResponse()
        try:
            answer = await self._on.invoke(request.method, request.data.value)
        except ManagerError as error:
            await context.abort(_code(error), str(error))
        except Exception as error:  # noqa: BLE001 - the caller learns that it is our fault, the log what it is
            self._warn(error, method=request.method)
            await context.abort(grpc.StatusCode.INTERNAL, "internal error; see the log")
        else:
            return InvokeResponse(data=AnyMessage(value=answer), content_type=JSON)
        return InvokeResponse()

    async def health(self, _request: Empty, context: Any) -> HealthCheckResponse:
        if not self._on.is_healthy():
            await context.abort(grpc.StatusCode.UNAVAILABLE, "not ready")
        return HealthCheckResponse()

    async def _take(self, delivery: Delivery) -> TopicEventResponse.TopicEventResponseStatus.ValueType:
        event = delivery.event
        subscription = self._on.topics.get(event.topic)
        if subscription is None:  # to say UNIMPLEMENTED would be taken for a drop: nothing is lost by asking again
            self._observer.warn("topic_unknown", topic=event.topic, event_id=event.id)
            return _RETRY
        try:
            await subscription.receive(delivery)
        except Exception as error:  # noqa: BLE001 - whatever it is, the event must come again
            self._warn(error, topic=event.topic, event_id=event.id)
            return _RETRY
        return _SUCCESS

    def _warn(self, error: Exception, **where: object) -> None:
        """A line in the log; with a trace if it is a mistake of ours."""
        reason = str(error)
        if not isinstance(error, ManagerError):
            reason = f"{type(error).__name__}: {error}"
            where = {**where, "trace": "".join(format_exception(error))}
        self._observer.warn("delivery_failed", **{"reason": reason, **where})


def _method(call: Callable[[Any, Any], Awaitable[Any]], request: Any) -> Any:
    """A unary method of a service."""
    return grpc.unary_unary_rpc_method_handler(
        call, request_deserializer=request.FromString, response_serializer=lambda answer: answer.SerializeToString()
    )


def _code(error: ManagerError) -> Any:
    """What the sidecar's HTTP side turns into 404, 400, 503 and 500."""
    match error:
        case NotFoundError():
            return grpc.StatusCode.NOT_FOUND
        case InvalidInputError():
            return grpc.StatusCode.INVALID_ARGUMENT
        case TransientError():
            return grpc.StatusCode.UNAVAILABLE
        case _:
            return grpc.StatusCode.INTERNAL
