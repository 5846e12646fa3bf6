"""Which connections carry a tag, as far as it takes to bound their number."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from runtime.models.constants import DaprConstants, hashed_key
from runtime.models.wire import WireModel

PAGES = 1024
GRACE_S = 60.0  # from the entry here to the record that carries the tag
TIDIED_AT = 64  # tags of a page, from which on it is tidied


class TagMembers(WireModel):
    """The key `websocket.tags.<n>`: tags with the same hash, the ids that were let in, and when, in Unix seconds.

    It holds at least every connection that a command has given the tag since their number is bounded. Ids that no
    longer carry it stay until there is no room.
    """

    members: Mapping[str, Mapping[str, float]] = {}

    def of(self, tag: str) -> Mapping[str, float]:
        """The ids that may carry a tag."""
        return self.members.get(tag, {})

    def ids(self) -> Collection[str]:
        """All ids of the page."""
        return {id_ for ids in self.members.values() for id_ in ids}

    def with_member(self, tag: str, connection_id: str, now: float) -> TagMembers:
        """One more."""
        return self.model_copy(
            update={"members": {**self.members, tag: {**self.of(tag), connection_id: round(now, 3)}}}
        )

    def tidied(self, carries: Callable[[str, str], bool], now: float) -> TagMembers:
        """Without those that do not carry their tag, and have had the time to."""
        kept = {
            tag: {id_: at for id_, at in ids.items() if abs(now - at) < GRACE_S or carries(id_, tag)}
            for tag, ids in self.members.items()
        }
        return self.model_copy(update={"members": {tag: ids for tag, ids in kept.items() if ids}})


def tags_key(tag: str) -> str:
    """The key under which a tag, `key=value`, is found."""
    return hashed_key(DaprConstants.TAGS_PREFIX, tag.encode(errors="surrogatepass"), PAGES)
