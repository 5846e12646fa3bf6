"""The names that a deployment may change, and the bounds of a process."""

from __future__ import annotations

from dataclasses import dataclass, field

from runtime.models.dials import DialLimits
from runtime.models.option_limits import OptionLimits
from runtime.models.options import MIB


@dataclass(frozen=True, slots=True)
class Names:
    """The names that a deployment may change."""

    pubsub: str = "pubsub"
    statestore: str = "statestore"
    commands_topic: str = "websocket-commands"
    events_topic: str = "websocket-events"
    host_topic: str = "websocket-host"
    dead_letters_topic: str = "websocket-dead-letters"
    commands_binding: str = "websocket-commands"
    sweep_binding: str = "health-sweep"
    handlers_app_id: str = "websocket-handlers"
    host_app_id: str = "websocket-host"

    def owner_topic(self, instance_id: str) -> str:
        """The topic of one host."""
        return f"{self.host_topic}-{instance_id}"

    def is_nudge(self, topic: str) -> bool:
        """Whether a topic carries nudges."""
        return topic == self.host_topic or topic.startswith(self.host_topic + "-")

    def is_reserved(self, topic: str) -> bool:
        """Whether frames may not be published to a topic, since the manager itself reads or owns it."""
        return self.is_nudge(topic) or topic in {self.commands_topic, self.events_topic, self.dead_letters_topic}


DEFAULT_NAMES = Names()


# Measured on CPython 3.11: a process at rest takes 75 MB, and up to four bulk calls in flight of a megabyte in several
# copies; an idle connection 20 KB, with TLS some 55.
PROCESS_BYTES = 128 * MIB
CONNECTION_BYTES = 64 * 1024
EVENTS_BYTES = 16 * MIB  # of events about connections that wait for their topic


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds and periods of a process. Durations in seconds, `sweep_rate` in records a second.

    `is_strict`: sockets are closed before the lease runs out. `rebalances`: what exceeds the share is handed over.
    `max_connections_per_tag`: 0 for any number. `counted_tags`: the keys for which that holds; none for all.
    """

    max_connections: int = 10_000
    max_handshakes: int = 50
    max_skew_s: float = 5
    sweep_interval_s: float = 10
    heartbeat_interval_s: float = 0.1
    lease_s: float = 15
    tombstone_ttl_s: float = 86_400
    index_grace_s: float = 60
    drain_deadline_s: float = 10
    handover_s: float = 10
    loop_stall_limit_s: float = 60
    sweep_rate: int = 1000
    is_strict: bool = False
    rebalances: bool = True
    vitals_interval_s: float = 10
    status_writes_in_flight: int = 8
    events_max: int = 10_000
    index_shards: int = 1
    queues_max_bytes: int = 1024**3
    dials: DialLimits = field(default_factory=DialLimits)
    options: OptionLimits = field(default_factory=OptionLimits)
    max_connections_per_tag: int = 0
    counted_tags: tuple[str, ...] = ()
    names: Names = field(default_factory=Names)

    def memory_bound_mib(self) -> dict[str, int]:
        """The most memory that a host holds, by what it holds it for, and in all.

        Beyond it each connection may have a message that is just being received, and one that is over the bound of its
        queue.
        """
        bytes_ = {
            "process": PROCESS_BYTES,
            "connections": self.max_connections * CONNECTION_BYTES,
            "queues": self.queues_max_bytes,
            "events": EVENTS_BYTES,
        }
        return {name: round(held / MIB) for name, held in (bytes_ | {"total": sum(bytes_.values())}).items()}
