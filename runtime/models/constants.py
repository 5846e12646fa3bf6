"""Keys and names that other services rely on."""

from __future__ import annotations

from zlib import crc32


class DaprConstants:
    """Key patterns of the state store. Only connections start with `KEY_PREFIX`, all else with `websocket.`."""

    KEY_PREFIX = "websocket-"
    INDEX_KEY = "websocket-index"
    INSTANCE_PREFIX = "websocket.instance."
    INSTANCES_KEY = "websocket.instances"
    VITALS_PREFIX = "websocket.vitals."
    PROBE_PREFIX = "websocket.probe."
    OUTBOX_PREFIX = "websocket.outbox."
    INDEX_SHARD_PREFIX = "websocket.index."
    LAYOUT_KEY = "websocket.layout"
    DIALS_PREFIX = "websocket.dials."
    TAGS_PREFIX = "websocket.tags."

    # The names as the seed's .NET service spells them.
    KeyPrefix = KEY_PREFIX
    IndexKey = INDEX_KEY


SCHEMA_VERSION = 1
ID = r"^[A-Za-z0-9._:-]{1,128}$"
"""What the id of a connection or of a host looks like."""
MAX_FOREIGN_ID = 512
PROBE_ID = r"^[0-9a-f]{32}$"
PROBE_KEY = r"^websocket\.probe\.[0-9a-f]{32}$"


def connection_key(connection_id: str) -> str:
    """The key of a connection's record."""
    return DaprConstants.KEY_PREFIX + connection_id


def can_be_key(connection_id: str) -> bool:
    """Whether a record may be stored under this id at all, if only by a foreign writer: a sidecar refuses `||`."""
    return 0 < len(connection_id) <= MAX_FOREIGN_ID and connection_id.isprintable() and "||" not in connection_id


def outbox_key(connection_id: str) -> str:
    """The key of a connection's outbox."""
    return DaprConstants.OUTBOX_PREFIX + connection_id


def instance_key(instance_id: str) -> str:
    """The key of a host's lease."""
    return DaprConstants.INSTANCE_PREFIX + instance_id


def vitals_key(instance_id: str, page: int = 0) -> str:
    """The key of a page of a host's vitals. No id holds a `+`."""
    return f"{DaprConstants.VITALS_PREFIX}{instance_id}" + (f"+{page}" if page else "")


def hashed_key(prefix: str, name: bytes, pages: int) -> str:
    """The key among so many under which a name is found."""
    return f"{prefix}{crc32(name) % pages}"


def index_key(connection_id: str, shards: int) -> str:
    """The key of the index that lists this id; with one shard it is the seed's key."""
    if shards == 1:
        return DaprConstants.INDEX_KEY
    return hashed_key(DaprConstants.INDEX_SHARD_PREFIX, connection_id.encode(), shards)


def index_keys(shards: int) -> list[str]:
    """Every key of the index."""
    if shards == 1:
        return [DaprConstants.INDEX_KEY]
    return [f"{DaprConstants.INDEX_SHARD_PREFIX}{shard}" for shard in range(shards)]
