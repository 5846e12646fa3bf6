"""What another host should see to, and what is seen to here when it has not done so for long."""

from __future__ import annotations

from dataclasses import dataclass, field

MAX_ENTRIES = 10_000  # what is beyond is found by a later pass
AT_ONCE = 500


@dataclass(slots=True)
class Patience:
    """Records that were seen in need of something: what was seen, and until when that may last (monotonic)."""

    _seen: dict[str, tuple[object, float]] = field(default_factory=dict)

    def note(self, connection_id: str, seen: object, until: float) -> None:
        """Wait until then, or as long as was said when the same was seen first."""
        known = self._seen.get(connection_id)
        if known is None and len(self._seen) >= MAX_ENTRIES:
            return
        if known is None or known[0] != seen:
            self._seen[connection_id] = (seen, until)

    def forget(self, connection_id: str) -> None:
        """It needs nothing."""
        self._seen.pop(connection_id, None)

    def take_overdue(self, now: float) -> dict[str, object]:
        """Some of what has lasted for too long, with what was seen; it is forgotten here."""
        overdue: dict[str, object] = {}
        for connection_id, (seen, until) in self._seen.items():
            if now >= until and len(overdue) < AT_ONCE:
                overdue[connection_id] = seen
        for connection_id in overdue:
            del self._seen[connection_id]
        return overdue
