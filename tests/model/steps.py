"""The histories: what happens to whom, drawn from a seed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from tests.model.stores import Manners

LEASE_S = 6.0
PAUSE_MAX_S = 15.0
TOMBSTONE_TTL_S = 45.0
SKEW_S = 7.0  # of a wall clock from the truth; the time to live of a tombstone is what it has to be small against
FRONTS = ("f1", "f2")
IDS = ("a", "b")

Step = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Script:
    """One history: the store's manners, who there is and by how much its clock is wrong, and the steps."""

    seed: int
    manners: Manners
    is_strict: bool
    skews: dict[str, float]
    steps: tuple[Step, ...]

    @property
    def hosts(self) -> list[str]:
        return [name for name in self.skews if name.startswith("h")]

    @property
    def clocks_agree(self) -> bool:
        """Whether all wall clocks are right."""
        return not any(self.skews.values())

    def __str__(self) -> str:
        fencing = "strict fencing" if self.is_strict else "no fencing"
        lines = [f"seed {self.seed}: {self.manners.value}; {fencing}; clocks {self.skews}"]
        return "\n".join([*lines, *(f"  {' '.join(map(str, step))}" for step in self.steps)])


def script(seed: int) -> Script:
    """The history of a seed: always the same one."""
    random = Random(seed)
    hosts = ["h1", "h2", "h3"][: random.choice([2, 2, 3])]
    agree = random.random() < 0.5
    skews = {name: 0.0 if agree else round(random.uniform(-SKEW_S, SKEW_S), 1) for name in (*hosts, *FRONTS)}
    dice = _Dice(random, hosts, has_jumps=not agree)
    steps = [dice.connect("a"), dice.connect("b"), ("wait", 1.0)]
    for _ in range(random.randint(5, 12)):
        steps += dice.step()
    return Script(seed, random.choice(list(Manners)), random.random() < 0.3, skews, tuple(steps))


@dataclass(slots=True)
class _Dice:
    random: Random
    hosts: list[str]
    has_jumps: bool

    def step(self) -> list[Step]:
        random = self.random
        kinds: list[tuple[float, Callable[[], list[Step]]]] = [
            (7, self._command),
            (3, lambda: [("pause", self._host(), self._duration(LEASE_S, PAUSE_MAX_S))]),
            (2, lambda: [("pause", self._any(), self._duration(0.1, LEASE_S))]),
            (2, lambda: [("cut", self._any(), self._duration(0.5, 3 * LEASE_S))]),
            (2, lambda: [("crash", self._host())]),
            (2, lambda: [("start", self._host())]),
            (1, lambda: [("pause", name := self._host(), self._duration(1, PAUSE_MAX_S)), ("twin", name)]),
            (1, lambda: [("drain", self._host())]),
            (3, lambda: [("give", self._id())]),
            (1, lambda: [("jump", self._any(), round(random.uniform(-SKEW_S, SKEW_S), 1))] if self.has_jumps else []),
            (3, lambda: [("lose", self._id())]),
            (1, lambda: [("refuse", self._id(), random.randint(1, 3))]),
            (1, lambda: [("refuse_for_good", self._id())]),
            (0.7, self._remove_and_make),
            (1, lambda: [("slow", self._duration(1, LEASE_S))]),
            (0.5, lambda: [("outage", self._duration(1, 2 * LEASE_S))]),
            (1, self._lose_while_it_stands),
            (0.7, self._die_and_come_back),
            (2, self._give_to_who_cannot_connect),
        ]
        [draw] = random.choices([draw for _, draw in kinds], [weight for weight, _ in kinds])
        waits = [0.0, self._duration(0, 0.1), *[self._duration(0, 2) for _ in range(3)], self._duration(LEASE_S, 9)]
        return [*draw(), ("wait", random.choice(waits))]

    def connect(self, id_: str) -> Step:
        fields = {"url": f"wss://feed.example/{id_}", "topic": "t", "autoReconnect": id_ == "a"}
        return self._told("connect", id_, fields)

    def _command(self) -> list[Step]:
        name = self.random.choice(["connect", "connect", "disconnect", "keep", "reconnect", "reconnect"])
        return [self._one(name, self._id())]

    def _one(self, name: str, id_: str) -> Step:
        if name == "connect":
            return self.connect(id_)
        return self._told("disconnect" if name == "keep" else name, id_, {"keep": True} if name == "keep" else {})

    def _remove_and_make(self) -> list[Step]:
        """Long enough apart that the tombstone is purged, or just about to be."""
        id_ = self._id()
        wait = self.random.choice([TOMBSTONE_TTL_S + 4, self._duration(TOMBSTONE_TTL_S - 5, TOMBSTONE_TTL_S + 5)])
        make = self._one(self.random.choice(["connect", "connect", "keep"]), id_)
        meanwhile = self.random.choice([[], [("slow", 0.0), *(("pause", name, 3.0) for name in self.hosts)]])
        purge = [("slow", 5.0), ("wait", self._duration(0, 5)), *meanwhile]
        return [self._one("disconnect", id_), ("wait", wait), *purge, make]

    def _lose_while_it_stands(self) -> list[Step]:
        """The owner comes back without its socket, and with an owner after it."""
        pauses = [
            ("pause", name, self._duration(LEASE_S + 3, PAUSE_MAX_S)) for name in self.random.sample(self.hosts, 1)
        ]
        return [*pauses, ("lose", "a"), ("wait", self._duration(LEASE_S, 9))]

    def _give_to_who_cannot_connect(self) -> list[Step]:
        """Until about the time when it is taken back."""
        slow = self.random.choice([[], [("slow", 4.0)]])
        return [("refuse", "a", self.random.randint(1, 3)), ("give", "a"), ("wait", 0.5), *slow, ("wait", 3.0)]

    def _die_and_come_back(self) -> list[Step]:
        """Who has seen a host die stands still while that one comes back."""
        dead, other = self.random.sample(self.hosts, 2)
        away, pause = self._duration(LEASE_S + 2, LEASE_S + 5), self._duration(LEASE_S + 4, PAUSE_MAX_S)
        return [("cut", dead, away), ("wait", away), ("pause", other, pause), ("wait", pause)]

    def _told(self, name: str, id_: str, fields: dict[str, Any]) -> Step:
        """To which handler, how late, and how late once more, if it is delivered twice."""
        late = self.random.choice([0.0, 0.0, 0.0, self._duration(0, 4)])
        again = self.random.choice([None, None, self._duration(0, 8)])
        return ("tell", name, id_, fields, self.random.choice(FRONTS), late, again)

    def _host(self) -> str:
        return self.random.choice(self.hosts)

    def _any(self) -> str:
        return self.random.choice([*self.hosts, *self.hosts, *FRONTS])

    def _id(self) -> str:
        return self.random.choice(IDS)

    def _duration(self, low: float, high: float) -> float:
        return round(self.random.uniform(low, high), 3)
