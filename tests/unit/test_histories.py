"""Any history of commands and faults: at the end records, sockets, topics and outcomes agree, and no hole is silent."""

from __future__ import annotations

import json
from collections import defaultdict
from datetime import datetime
from itertools import pairwise
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime.failure import FailureKind
from runtime.models.status import TRANSITIONS, ConnectionStatus
from runtime.models.wire import format_time
from tests.unit.history import IDS, Player
from tests.virtual_time import virtual_time

_id = st.sampled_from(IDS)
_pause = st.tuples(st.just("wait"), st.sampled_from([0.0, 0.001, 0.05, 0.3, 3.0]))
_command = st.one_of(
    st.tuples(st.just("connect"), _id, st.sampled_from("tu"), st.booleans(), st.sampled_from(["block", "drop_oldest"])),
    st.tuples(st.just("disconnect"), _id, st.booleans()),
    st.tuples(st.just("reconnect"), _id),
    st.tuples(st.just("startPublish"), _id, st.sampled_from(["t", "v"])),
    st.tuples(st.just("send"), _id),
    st.tuples(st.just("request"), _id),
    st.tuples(st.just("again"), st.integers(0, 5)),
)
_peer = st.one_of(
    st.tuples(st.just("frames"), _id, st.sampled_from([1, 3, 8])),
    st.tuples(st.just("lose"), _id, st.sampled_from([None, 1000, 1008, 1012])),
    st.tuples(st.just("refuse"), st.sampled_from([FailureKind.TRANSIENT, FailureKind.REFUSED]), st.integers(1, 4)),
)
_fault = st.one_of(
    st.tuples(st.just("store"), st.booleans(), st.integers(1, 30)),
    st.tuples(st.just("sink"), st.booleans(), st.integers(1, 6)),
    st.tuples(st.just("kill")),
    st.tuples(st.just("stop")),
    st.tuples(st.just("sweep")),
)
_step = st.one_of(_command, *[_peer] * 5, *[_fault] * 2, *[_pause] * 4)


class History(Player):
    async def check(self) -> None:
        self._check_frames()
        self._check_statuses()
        await self._check_commands()
        for id_ in IDS:
            record = await self.world.records.get(id_)
            is_wanted = record is not None and record.is_wanted
            assert len(self.open_sockets(id_)) == is_wanted, (id_, record)
            if record is not None:
                expected = ConnectionStatus.CONNECTED if is_wanted else ConnectionStatus.DISCONNECTED
                assert (record.status, record.instance_id) == (expected, "me" if is_wanted else None)

    def _check_frames(self) -> None:
        ids: dict[str, set[tuple[int, int]]] = defaultdict(set)
        last: dict[str, tuple[int, int]] = {}
        numbers: dict[tuple[str, int], set[int]] = defaultdict(set)
        for frame in self.world.data("frame"):
            place = (frame["epoch"], frame["sequence"])
            is_first = not ids[frame["payload"]]
            ids[frame["payload"]].add(place)
            assert len(ids[frame["payload"]]) == 1, "one frame under two ids"
            if is_first:
                assert place > last.get(frame["websocketId"], (0, 0)), "order"
                last[frame["websocketId"]] = place
                numbers[frame["websocketId"], frame["epoch"]].add(frame["sequence"])
        gaps = self.world.data("gap")
        for gap in gaps:
            if gap["kind"] == "dropped":
                numbers[gap["connectionId"], gap["epoch"]].update(range(gap["fromSequence"], gap["toSequence"] + 1))
            else:
                assert gap["fromTime"] <= gap["toTime"]
        for key, found in numbers.items():  # what a kill has cut out of a queue lies in a blind gap
            assert self.kills or found == set(range(1, len(found) + 1)), f"a silent hole in the sequences of {key}"
        self._check_missing(set(self.pushed) - {payload for payload, found in ids.items() if found}, gaps)

    def _check_missing(self, missing: set[str], gaps: list[dict[str, Any]]) -> None:
        dropped = sum(g["toSequence"] - g["fromSequence"] + 1 for g in gaps if g["kind"] == "dropped")
        silent = []
        for payload in filter(self._is_owed, sorted(missing)):
            id_, text = self.pushed[payload][0], format_time(self._due(payload))
            blind = [g for g in gaps if g["kind"] == "blind" and g["connectionId"] == id_]
            if not any(g["fromTime"] <= text <= g["toTime"] for g in blind):
                silent.append((payload, text))
        assert len(silent) <= dropped, (silent, gaps)

    def _due(self, payload: str) -> datetime:
        """When it was there to be read: what is read late, since the queue was full, is received late."""
        id_, at = self.pushed[payload]
        ahead = [other for other in self.read if other[:1] == id_ and int(other[1:]) <= int(payload[1:])]
        return max([at, *(self.read[other] for other in ahead if payload not in self.read)])

    def _is_owed(self, payload: str) -> bool:
        """All that was read, and what was not read by a connection that lives again: an end owes nothing more."""
        id_, at = self.pushed[payload]
        mine = [s for s in self.world.data("status") if s["connectionId"] == id_ and s["at"] >= format_time(at)]
        turns = [s["status"] for s in mine if s["status"] in {"Connected", "Disconnected"}]
        return payload in self.read or turns[:1] == ["Connected"]

    def _check_statuses(self) -> None:
        told: dict[tuple[str, int], list[ConnectionStatus]] = defaultdict(list)
        seen = set()
        for event in self.world.publisher.events:
            if event.type.endswith(".status") and event.id not in seen:
                seen.add(event.id)
                status = json.loads(event.data)
                told[status["connectionId"], status["epoch"]].append(ConnectionStatus.parse(status["status"]))
        for key, statuses in told.items():
            for before, after in pairwise(statuses):
                assert after is before or after in TRANSITIONS[before], (key, statuses)

    async def _check_commands(self) -> None:
        announced: dict[str, set[str]] = defaultdict(set)
        for outcome in self.world.data("outcome"):
            announced[outcome["commandId"]].add(outcome["status"])
        for name, fields in self.commands:
            answers, told = self.answers[fields["commandId"]], announced[fields["commandId"]]
            if not answers:
                continue  # the caller was told to try again
            if not self.kills:
                assert set(answers) <= told
            if name in {"send", "request"} and "accepted" in answers:
                outbox = await self.world.records.outbox(fields["id"])
                assert outbox.find(fields["commandId"]) is None, "stuck"
                assert fields["commandId"] in outbox.outcomes, "without an end"
                ends = told - {"accepted"}
                assert len(ends) == 1 or (not ends and self.kills), (fields, told)


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.lists(_step, min_size=6, max_size=20))
def test_after_any_history_everything_agrees_and_no_hole_is_silent(steps: list[tuple[Any, ...]]):
    @virtual_time
    async def run():
        history = History()
        await history.play(steps)
        await history.check()
        await history.close()

    run()
