"""The lease of a host process."""

from __future__ import annotations

from runtime.models.wire import UtcTime, WireModel


class Instance(WireModel):
    """The key `websocket.instance.<id>`, rewritten at every heartbeat.

    `readUntil` is the time up to which everything that the host had received was published: what a successor
    announces as the begin of its blind gap.
    """

    id: str
    incarnation: str
    beat: int = 0
    load: int = 0
    version: str = ""
    started_at: UtcTime
    read_until: UtcTime


class InstanceList(WireModel):
    """The key `websocket.instances`."""

    ids: tuple[str, ...] = ()
