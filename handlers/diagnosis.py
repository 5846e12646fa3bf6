"""What `wsm doctor` asks of an app: what it is, what its store does, and whether it sees a key of another app."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from runtime.context import Context
from runtime.models.constants import PROBE_KEY
from runtime.models.wire import WireModel


class AboutQuery(WireModel):
    """This process."""


class ProbeStoreQuery(WireModel):
    """The state store as this process reaches it."""


class SeesKeyQuery(WireModel):
    """One key of a probe: no other may be asked for."""

    key: str = Field(pattern=PROBE_KEY)


async def read_about(query: AboutQuery, context: Context) -> dict[str, Any]:
    """What runs here, and how it is."""
    return await context.diagnosis.about()


async def probe_store(query: ProbeStoreQuery, context: Context) -> dict[str, Any]:
    """Try the store out: `problems` that forbid its use, and `warnings`. Raises StoreError."""
    return await context.diagnosis.probe_store()


async def sees_key(query: SeesKeyQuery, context: Context) -> dict[str, Any]:
    """Whether a key of a probe is there for this process. Raises StoreError."""
    return {"sees": await context.records.store.get(query.key) is not None}
