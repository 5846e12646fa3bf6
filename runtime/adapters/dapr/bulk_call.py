"""One bulk publish, by whichever call the sidecar has: a platform may choose an older one than was tried here."""

from __future__ import annotations

import grpc
from dapr.proto.runtime.v1.pubsub_pb2 import BulkPublishRequest, BulkPublishResponse, PublishEventRequest
from google.protobuf.empty_pb2 import Empty

from runtime.adapters.dapr.channel import Calls
from runtime.ports import Observer

STABLE = "BulkPublishEvent"  # since 1.17
ALPHA = "BulkPublishEventAlpha1"  # the same before, which a platform may have turned off
SINGLE = "PublishEvent"

# A sidecar takes a call that it does not know for one to another app, and misses that app's name (measured on 1.18.2).
_PROXIED = "failed to proxy request"


class BulkCall:
    """Publishes many events to one topic. What is not there is found out once, and said in the log.

    Without any bulk call the events go one by one, in their order: as safe, and slower.
    """

    def __init__(self, sidecar: Calls, observer: Observer, deadline_s: float) -> None:
        self._sidecar, self._observer, self._deadline_s = sidecar, observer, deadline_s
        self._ways = [STABLE, ALPHA, SINGLE]

    async def __call__(self, request: BulkPublishRequest) -> None:
        """Raises grpc.aio.AioRpcError, which tells nothing about which events got through."""
        while (way := self._ways[0]) != SINGLE:
            try:
                await self._sidecar.call(way, request, BulkPublishResponse, self._deadline_s)
            except grpc.aio.AioRpcError as error:
                if not _is_missing(error):
                    raise
                if self._ways[0] == way:  # of several calls in flight the first one says it
                    del self._ways[0]
                    self._observer.log("bulk_publish_missing", call=way, instead=self._ways[0])
            else:
                return
        await self.one_by_one(request)

    async def one_by_one(self, request: BulkPublishRequest) -> None:
        """The same without a bulk call. Raises likewise."""
        for entry in request.entries:
            single = PublishEventRequest(
                pubsub_name=request.pubsub_name,
                topic=request.topic,
                data=entry.event,
                data_content_type=entry.content_type,
                metadata={**entry.metadata, **request.metadata},
            )
            await self._sidecar.call(SINGLE, single, Empty, self._deadline_s)


def _is_missing(error: grpc.aio.AioRpcError) -> bool:
    return error.code() is grpc.StatusCode.UNIMPLEMENTED or _PROXIED in (error.details() or "")
