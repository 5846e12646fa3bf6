"""What must hold at every moment of a history, kept by an account that sees every write, hold and dial."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import orjson

from runtime.models.constants import DaprConstants
from tests.model.processes import Process, time
from tests.model.stores import Write

Record = dict[str, Any]

DESIRED = ("url", "topic", "tags", "options", "autoReconnect", "desired", "generation", "applied", "outcomes")
DISCONNECTED, CONNECTED = 0, 2  # as they are stored
STRICT_S = 1.5  # after which a socket without a lease is closed, if its process runs
ACTUAL = ("status", "instanceId", "epoch", "endedGeneration", "readUntil", "handover")


@dataclass(slots=True)
class Account:
    """Knows the true time and all that is stored. `faults`: what was broken; `trace`: what happened, to be read."""

    lease_s: float
    longest_pause_s: float
    is_strict: bool = False
    faults: list[str] = field(default_factory=list)
    trace: list[tuple[float, str, str]] = field(default_factory=list)
    stored: dict[str, Record] = field(default_factory=dict)
    purged: set[str] = field(default_factory=set)
    written: dict[str, str] = field(default_factory=dict)  # the outcome of a command, as a record holds it
    open: dict[tuple[Process, str], int] = field(default_factory=dict)  # sockets, and their epochs
    _highest: dict[str, int] = field(default_factory=dict)
    _owned: dict[str, int] = field(default_factory=dict)
    _holders: dict[tuple[str, int], Process] = field(default_factory=dict)
    _left: dict[tuple[str, int], tuple[float, Process]] = field(default_factory=dict)
    _removed_at: dict[str, float] = field(default_factory=dict)
    _ended: dict[str, int] = field(default_factory=dict)
    _dialled: dict[str, int] = field(default_factory=dict)
    _landed_at: dict[str, float] = field(default_factory=dict)
    _dark_until: dict[str, float] = field(default_factory=dict)
    _said_good_bye: set[str] = field(default_factory=set)
    _held_until: dict[Process, float] = field(default_factory=dict)
    _lapse_ended: dict[Process, float] = field(default_factory=dict)

    def note(self, who: str, what: str) -> None:
        self.trace.append((time(), who, what))

    def fault(self, who: str, what: str) -> None:
        self.note(who, f"FAULT: {what}")
        self.faults.append(what)

    def wrote(self, write: Write) -> None:
        """A write takes effect."""
        key, process = write.key, write.process
        if key.startswith(DaprConstants.INSTANCE_PREFIX) and write.after is not None:
            self._beat(process, key.removeprefix(DaprConstants.INSTANCE_PREFIX), write)
        elif key.startswith(DaprConstants.KEY_PREFIX) and key != DaprConstants.INDEX_KEY:
            id_ = key.removeprefix(DaprConstants.KEY_PREFIX)
            before = self.stored.get(id_)
            if write.after is None:
                self._deleted(process, id_)
                return
            after = self.stored[id_] = orjson.loads(write.after)
            self.note(process.name, f"writes {id_}: {brief(after)}")
            self._check_epoch(process, id_, before, after)
            if process.host_id:
                self._by_host(process, id_, before, after)
            else:
                self._by_handler(process, id_, before, after)

    def crashed(self, process: Process) -> None:
        """It holds nothing any more."""
        self._held_until.pop(process, None)
        for key in [key for key in self.open if key[0] is process]:
            del self.open[key]

    def holds(self, process: Process, id_: str, epoch: int) -> None:
        """A process takes itself for the owner under this epoch, and may dial."""
        self.note(process.name, f"holds {id_} under {epoch}")
        holder = self._holders.setdefault((id_, epoch), process)
        if holder is not process:
            self.fault(process.name, f"two owners in one epoch: {holder.name} holds {id_} under {epoch} too")

    def dials(self, process: Process, id_: str, epoch: int, generation: int) -> None:
        """A process opens a socket."""
        self.note(process.name, f"dials {id_} under {epoch}")
        self.open[process, id_] = epoch
        if self._held_until.get(process, 0) <= time():
            self.fault(process.name, f"dialled {id_} without a lease")
        for other, until in self._held_until.items():
            if other is not process and other.host_id == process.host_id and until > time():
                self.fault(process.name, f"two processes under one id may act: {other.name} holds its lease too")
        for other, other_id in self.open if self.is_strict else ():
            out_at = max(self._held_until.get(other, time()), other.stands_until) + STRICT_S
            if other is not process and other_id == id_ and out_at < time():
                self.fault(process.name, f"{other.name} holds a socket of {id_} without a lease, fencing is strict")
        left_at, by = self._left.get((id_, epoch), (None, None))
        if left_at is not None and (by is process or left_at < self._lapse_ended.get(process, 0)):
            self.fault(process.name, f"dialled {id_} under epoch {epoch}, which was over before its lease was renewed")
        if generation <= self._ended.get(id_, -1) and by in {None, process}:
            self.fault(process.name, f"dialled generation {generation} of {id_}, which had ended")
        self._dialled[id_] = generation

    def goes_on(self, process: Process, id_: str, epoch: int) -> None:
        """A socket is kept under another epoch."""
        if (process, id_) in self.open:
            self.open[process, id_] = epoch

    def closes(self, process: Process, id_: str) -> None:
        """A socket is closed, or lost."""
        if self.open.pop((process, id_), None) is not None:
            self.note(process.name, f"closes {id_}")

    def _beat(self, process: Process, host_id: str, write: Write) -> None:
        now, lease = time(), orjson.loads(write.after or b"{}")
        is_back = now - self._landed_at.get(host_id, -self.lease_s) >= self.lease_s or host_id in self._said_good_bye
        if is_back:  # others may not know it yet
            self._dark_until[host_id] = now
        self._landed_at[host_id] = now
        if write.sent_at > self._held_until.get(process, write.sent_at):
            self._lapse_ended[process] = now
        self._held_until[process] = write.sent_at + self.lease_s
        self._said_good_bye.discard(host_id)
        if lease.get("hasEnded"):
            self._said_good_bye.add(host_id)
            self._held_until.pop(process)

    def _was_dead(self, host_id: str) -> bool:
        """Whether an observer may take it for dead now, by what could be read in the last moments."""
        landed_at, now = self._landed_at.get(host_id), time()
        if landed_at is None or host_id in self._said_good_bye or now - landed_at >= self.lease_s:
            return True
        return now - self._dark_until.get(host_id, -1e9) < self.lease_s

    def _check_epoch(self, process: Process, id_: str, before: Record | None, after: Record) -> None:
        epoch, highest = after["epoch"], self._highest.get(id_, 0)
        if epoch < highest:
            self.fault(process.name, f"the epoch of {id_} fell from {highest} to {epoch}")
        self._highest[id_] = max(highest, epoch)
        was: tuple[str | None, int] = (before.get("instanceId"), before["epoch"]) if before else (None, 0)
        if was == (after.get("instanceId"), epoch):
            return
        if was[0] is not None:
            self._left[id_, was[1]] = (time(), process)
        if after.get("instanceId") is not None:
            if epoch <= self._owned.get(id_, 0):
                self.fault(process.name, f"epoch {epoch} of {id_} is given out again")
            self._owned[id_] = max(epoch, self._owned.get(id_, 0))

    def _by_host(self, process: Process, id_: str, before: Record | None, after: Record) -> None:
        if before is None:
            self.fault(process.name, f"a host brought {id_} back")
            return
        changed = [name for name in DESIRED if before.get(name) != after.get(name)]
        if changed:
            self.fault(process.name, f"a host undid a command on {id_}: {', '.join(changed)}")
        if after["endedGeneration"] < before["endedGeneration"]:
            self.fault(process.name, f"an end of {id_} was forgotten")
        is_over = before["status"] != DISCONNECTED and after["status"] == DISCONNECTED  # whatever the record says of it
        over = self._dialled.get(id_, 0) if is_over else 0
        self._ended[id_] = max(after["endedGeneration"], over, self._ended.get(id_, 0))
        owner = before.get("instanceId")
        is_same = owner is not None and (owner, before["epoch"]) == (after.get("instanceId"), after["epoch"])
        holder = self._holders.get((id_, before["epoch"]), process)
        is_foreign = is_same and (owner != process.host_id or holder is not process)
        if is_foreign and any(before.get(name) != after.get(name) for name in ("status", "lastError", "readUntil")):
            self.fault(process.name, f"wrote the status of {id_}, which {holder.name} holds")
        if owner is not None and after.get("instanceId") not in {None, owner}:
            is_back = (before.get("handover") or {}).get("source") == after["instanceId"]
            self.note(process.name, f"{id_} {'was taken back' if is_back else 'went over'} from {owner}")
        is_taken = owner not in {None, process.host_id} and after.get("instanceId") != owner
        if owner is not None and is_taken and not _is_agreed(before, process.host_id) and not self._was_dead(owner):
            self.fault(process.name, f"took {id_} from {owner}, which lives and has not offered it")

    def _by_handler(self, process: Process, id_: str, before: Record | None, after: Record) -> None:
        fresh = {
            key: value for key, value in after["outcomes"].items() if key not in (before or {}).get("outcomes", {})
        }
        self.written |= {key: value["status"] for key, value in fresh.items()}
        is_removed = after["desired"] == "removed"
        if not is_removed and (before is None or before["desired"] == "removed"):
            self._removed_at.pop(id_, None)
            if not any(value["command"] == "connect" for value in fresh.values()):
                self.fault(process.name, f"{id_} came back without a connect")
        if is_removed:
            self._removed_at.setdefault(id_, time())
        if before is None:
            self._ended[id_] = self._dialled[id_] = after["endedGeneration"]
            return
        changed = [name for name in ACTUAL if before.get(name) != after.get(name)]
        if changed:
            self.fault(process.name, f"a command undid what a host wrote of {id_}: {', '.join(changed)}")

    def _deleted(self, process: Process, id_: str) -> None:
        self.note(process.name, f"purges {id_}")
        self.purged.add(id_)
        record = self.stored.pop(id_, None)
        if record is None:
            return
        if record["desired"] != "removed" or record.get("instanceId") is not None:
            self.fault(process.name, f"purged {id_}, which is no unowned tombstone: {brief(record)}")
        elif time() - self._removed_at[id_] < self.longest_pause_s:
            self.fault(process.name, f"purged {id_} while a process that stood still may remember it")


def _is_agreed(before: Record, host_id: str) -> bool:
    """Whether the owner has offered it to this host, or this host takes back what it had offered."""
    handover = before.get("handover")
    if handover is None:
        return False
    is_offered = handover["epoch"] == before["epoch"] and handover.get("to") in {None, host_id}
    is_late = before["status"] != CONNECTED and (handover["source"], handover["epoch"] + 1) == (
        host_id,
        before["epoch"],
    )
    return is_offered or is_late


def brief(record: Record) -> str:
    """What of a record matters here."""
    names = ("desired", "generation", "endedGeneration", "status", "instanceId", "epoch")
    said = " ".join(f"{name}={record.get(name)}" for name in names)
    return said + (f" handover={record['handover']}" if record.get("handover") else "")
