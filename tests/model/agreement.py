"""What must be true once all has been quiet for long enough: records, index and sockets agree."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import orjson

from runtime.models.constants import DaprConstants
from tests.model.account import CONNECTED, DISCONNECTED, Account, Record, brief
from tests.model.stores import Shared


def disagreements(shared: Shared, account: Account, ids: Iterable[str]) -> list[str]:
    """What does not agree yet: every connection has the one socket of its owner, or none and no owner."""
    index = shared.values.get(DaprConstants.INDEX_KEY)
    listed = orjson.loads(index.value) if index else []
    sockets: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for (process, id_), epoch in account.open.items():
        sockets[id_].append((process.host_id, epoch))
    found = []
    for id_ in ids:
        record, open_ = account.stored.get(id_), sockets[id_]
        if record is not None and id_ not in listed:
            found.append(f"{id_} is lost from the index")
        problem = _problem(record, open_)
        if problem is not None:
            found.append(f"{id_} {problem}: sockets {open_}, record {brief(record) if record else None}")
    return found


def _problem(record: Record | None, open_: list[tuple[str, int]]) -> str | None:
    if record is None:
        return "is held and has no record" if open_ else None
    owner, is_wanted = record.get("instanceId"), record["desired"] == "connected"
    if not is_wanted or record["generation"] <= record["endedGeneration"]:
        is_settled = not open_ and owner is None and record["status"] == DISCONNECTED
        return None if is_settled else "is not wanted and not settled"
    if open_ != [(owner, record["epoch"])] or record["status"] != CONNECTED:
        return "is wanted and not connected by its owner alone"
    return "is offered by an owner that does not know of it" if record.get("handover") else None
