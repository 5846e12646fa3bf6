"""Numbers that many writers add under one key: each must be in once."""

from __future__ import annotations

from runtime.errors import StoreError
from runtime.models.wire import WireModel
from runtime.ports import StateStore
from runtime.records import Records


class Numbers(WireModel):
    """What was added, in that order."""

    numbers: list[int] = []


async def add(records: Records, key: str, number: int) -> None:
    """Add it if it is not there: a write may take effect though it is told to be lost, as on DynamoDB.

    With a slow store and many writers it is given up, and tried anew here. Raises StoreError for any other reason.
    """

    def decide(found: Numbers | None) -> Numbers | None:
        numbers = found.numbers if found is not None else []
        return Numbers(numbers=[*numbers, number]) if number not in numbers else None

    while True:
        try:
            await records.change(key, Numbers, decide)
        except StoreError as error:
            if "changed by others" not in str(error):
                raise
        else:
            return


async def added(store: StateStore, key: str) -> list[int]:
    """What is in, sorted."""
    stored = await store.get(key)
    assert stored is not None
    return sorted(Numbers.model_validate_json(stored.value).numbers)
