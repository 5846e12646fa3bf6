"""One family of errors, so that every border translates into the same few meanings."""

from __future__ import annotations

from dataclasses import dataclass


class ManagerError(Exception):
    """Root of all errors that this project raises on purpose."""


class TransientError(ManagerError):
    """May work later. `retry_after_s` is what the other side asked for, if it did."""

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class PermanentError(ManagerError):
    """Will never work as asked; a person has to change something."""


class SidecarAbsentError(TransientError):
    """No sidecar answers at the address."""


class NotFoundError(PermanentError):
    """What was asked for does not exist."""


class InstanceIdTakenError(PermanentError):
    """Another process beats under this instance id."""


class IllegalTransitionError(PermanentError):
    """The lifecycle table does not allow this step."""


class OwnershipLostError(ManagerError):
    """The record no longer carries this owner and epoch: drop the write and close the socket."""


class RaceLostError(TransientError):
    """The key has changed, most likely by another writer, or by this very write: read again, then decide again."""


class GarbageRecordError(PermanentError):
    """A stored value cannot be read as what its key promises; it is left as it is."""


class StoreError(TransientError):
    """The state store did not answer, or answered with a fault: what was written is unknown."""


class PublishError(TransientError):
    """A publish call failed. The first `published` events of the call are known to have arrived."""

    def __init__(self, message: str, *, published: int = 0, retry_after_s: float | None = None) -> None:
        super().__init__(message, retry_after_s=retry_after_s)
        self.published = published


class EventRefusedError(PermanentError):
    """The event at `index` of the call is refused for itself; those before it have arrived."""

    def __init__(self, message: str, *, index: int) -> None:
        super().__init__(message)
        self.index = index


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """One thing that is wrong with an input: where (dotted path) and what."""

    where: str
    what: str


class InvalidInputError(PermanentError):
    """An input breaks its model. `problems` lists each fault; the text holds no input value."""

    def __init__(self, subject: str, problems: list[FieldProblem]) -> None:
        text = "; ".join(f"{p.where}: {p.what}" if p.where else p.what for p in problems)
        super().__init__(f"{subject}: {text}")
        self.problems = problems
