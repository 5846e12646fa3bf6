"""Topics in one process: to the sink, the tail and the dead-letter file; nudges straight to the host."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from runtime.adapters.embedded.dead_letters import DeadLetterFile
from runtime.adapters.embedded.sink import Sink
from runtime.adapters.embedded.tail import Tail
from runtime.errors import EventRefusedError, PublishError, StoreError
from runtime.models.events import CloudEventEncoder, Event
from runtime.ports import Names


class Bus:
    """Publisher and Nudges. Dead letters hold original bytes, secrets included: neither sink nor tail sees them."""

    keeps_order = True

    def __init__(
        self, sink: Sink, tail: Tail, encoder: CloudEventEncoder, names: Names, dead_letters: DeadLetterFile
    ) -> None:
        self._sink, self._tail, self._names, self._letters = sink, tail, names, dead_letters
        self._encode, self._published = encoder.encode, encoder.published
        self._nudged: dict[str, Callable[[str], None]] = {}
        self.lanes = sink.lanes

    def subscribe_nudges(self, topic: str, callback: Callable[[str], None]) -> None:
        """Call back with the connection's id at each nudge on a topic."""
        self._nudged[topic] = callback

    async def nudge(self, topic: str, connection_id: str) -> None:
        callback = self._nudged.get(topic)
        if callback is not None:
            callback(connection_id)

    async def publish_many(self, events: Sequence[Event]) -> None:
        start = 0
        secret = self._names.dead_letters_topic
        for index, event in enumerate(events):
            if event.topic == secret:
                await self._write(events, start, index)
                await self._bury(event, index)
                start = index + 1
        await self._write(events, start, len(events))

    async def _bury(self, event: Event, index: int) -> None:
        try:
            await self._letters.add(event.data)
        except StoreError as error:
            raise PublishError(str(error), published=index) from error

    async def _write(self, events: Sequence[Event], start: int, end: int) -> None:
        if start == end:
            return
        run = events[start:end]
        documents = [self._published(event) for event in run]
        done = 0
        try:
            await self._sink.write(run, documents)
            done = len(run)
        except EventRefusedError as error:
            done = error.index
            raise EventRefusedError(str(error), index=start + done) from error
        except PublishError as error:
            done = error.published
            raise PublishError(str(error), published=start + done, retry_after_s=error.retry_after_s) from error
        finally:
            if self._tail.has_readers:
                for event, document in zip(run[:done], documents[:done], strict=True):
                    self._tail.offer(event.topic, self._encode(event) if event.is_raw else document)
