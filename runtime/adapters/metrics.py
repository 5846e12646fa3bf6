"""The Meters port on prometheus-client, with a registry of its own: counts in plain numbers, collected on a scrape."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from typing_extensions import override

from runtime.models.status import ConnectionStatus
from runtime.ports import Gauges

CONTENT_TYPE = CONTENT_TYPE_LATEST
PREFIX = "wsm_"
KINDS = ("frame", "event")
BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class PrometheusMeters(Collector):
    """What a scrape shows. No label holds a connection, an instance or a topic: their number has no bound.

    `build`: the labels of `wsm_build_info`. `gauges` is asked at each scrape; it is set once there is a manager.
    """

    def __init__(self, build: Mapping[str, str], loop_lag_s: Callable[[], float]) -> None:
        self.gauges: Callable[[], Gauges] = Gauges
        self._build, self._loop_lag_s = dict(build), loop_lag_s
        self._commands: Counter[tuple[str, str]] = Counter()
        self._gaps: Counter[str] = Counter()
        self._redials: Counter[str] = Counter()
        self._handovers: Counter[str] = Counter()
        self._published: Counter[str] = Counter(dict.fromkeys(KINDS, 0))
        self._failures: Counter[str] = Counter(dict.fromkeys(KINDS, 0))
        self._dropped = self._dead_letters = self._exchanged = 0
        self._registry = CollectorRegistry(auto_describe=False)
        seconds = Histogram(
            f"{PREFIX}publish_seconds",
            "Duration of publish calls that were acknowledged.",
            ["kind"],
            buckets=BUCKETS_S,
            registry=self._registry,
        )
        self._seconds = {kind: seconds.labels(kind) for kind in KINDS}
        self._ticks = Histogram(
            f"{PREFIX}loop_tick_lag_seconds",
            "Delay of a tick of the event loop that is due every 50 ms, also while the loop is held: a share of ticks"
            " is a share of time. Heartbeats, pings and frames were as late as that.",
            buckets=BUCKETS_S,
            registry=self._registry,
        )
        self._registry.register(self)

    def text(self) -> bytes:
        """The page of a scrape."""
        return generate_latest(self._registry)

    def command_ended(self, command: str, status: str) -> None:
        self._commands[command, status] += 1

    def gap_announced(self, kind: str, frames: int) -> None:
        self._gaps[kind] += 1
        self._dropped += frames

    def handed_over(self, *, is_complete: bool) -> None:
        self._handovers["yes" if is_complete else "no"] += 1

    def socket_exchanged(self) -> None:
        self._exchanged += 1

    def redial_planned(self, failure: str) -> None:
        self._redials[failure] += 1

    def publish_ended(self, kind: str, events: int, seconds: float) -> None:
        self._published[kind] += events
        self._seconds[kind].observe(seconds)

    def publish_failed(self, kind: str, published: int) -> None:
        self._published[kind] += published
        self._failures[kind] += 1

    def ticked(self, lag_s: float) -> None:
        """The event loop has come back so much later than asked for."""
        self._ticks.observe(lag_s)

    def dead_lettered(self) -> None:
        self._dead_letters += 1

    @override
    def collect(self) -> Iterable[Metric]:
        held = self.gauges()
        statuses = {status.label: held.connections.get(status.label, 0) for status in ConnectionStatus}
        yield _gauge("connections", "Connections of this host by status.", statuses, "status")
        yield _gauge("queued_messages", "Frames read and not yet published.", held.queued_messages)
        yield _gauge("queued_bytes", "Memory that they hold.", held.queued_bytes)
        yield _gauge("queued_events", "Events about connections that are not yet published.", held.queued_events)
        if held.lease_age_s is not None:
            yield _gauge("lease_age_seconds", "Since the lease was last renewed.", held.lease_age_s)
        yield _gauge("loop_lag_seconds", "Longest delay of the event loop within the last seconds.", self._loop_lag_s())
        yield _counter("frames_received", "Frames read from sockets.", held.frames_received)
        yield _counter("frames_filtered", "Frames that options leave out of what is published.", held.frames_filtered)
        published, events = self._published["frame"], self._published["event"]
        yield _counter("frames_published", "Frames acknowledged by the broker or sink.", published)
        yield _counter("events_published", "Events about connections acknowledged likewise.", events)
        yield _counter("frames_dropped", "Frames read, numbered and not published.", self._dropped)
        yield _counter("gaps", "Announced gaps.", self._gaps, "kind")
        yield _counter("publish_failures", "Publish calls that failed; most are tried again.", self._failures, "kind")
        yield _counter(
            "handovers", "Epochs that ended in a handover, without a gap or with one.", self._handovers, "complete"
        )
        yield _counter("exchanges", "Sockets that were due and exchanged for new ones.", self._exchanged)
        yield _counter("reconnects", "Tries to connect again, by what went wrong.", self._redials, "failure")
        yield _commands(self._commands)
        yield _counter("dead_letters", "What was refused for good.", self._dead_letters)
        build = GaugeMetricFamily(f"{PREFIX}build_info", "What runs here.", labels=list(self._build))
        build.add_metric(list(self._build.values()), 1)
        yield build


def _gauge(name: str, about: str, value: float | Mapping[str, float], label: str | None = None) -> Metric:
    family = GaugeMetricFamily(PREFIX + name, about, labels=[label] if label else [])
    for key, number in _samples(value):
        family.add_metric(key, number)
    return family


def _counter(name: str, about: str, value: float | Mapping[str, float], label: str | None = None) -> Metric:
    family = CounterMetricFamily(PREFIX + name, about, labels=[label] if label else [])
    for key, number in _samples(value):
        family.add_metric(key, number)
    return family


def _samples(value: float | Mapping[str, float]) -> Iterable[tuple[list[str], float]]:
    """The values of a label with their numbers, or one number without a label."""
    return [([key], number) for key, number in value.items()] if isinstance(value, Mapping) else [([], value)]


def _commands(counts: Mapping[tuple[str, str], int]) -> Metric:
    family = CounterMetricFamily(f"{PREFIX}commands", "Outcomes of commands.", labels=["command", "status"])
    for key, number in counts.items():
        family.add_metric(list(key), number)
    return family
