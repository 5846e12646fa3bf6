"""The bound of connections with the same tag, so that one tenant cannot take what is meant for all."""

from __future__ import annotations

from collections.abc import Mapping

from runtime.context import Context
from runtime.errors import GarbageRecordError
from runtime.models.tag_members import TIDIED_AT, TagMembers, tags_key


async def tag_refusal(connection_id: str, tags: Mapping[str, str], context: Context) -> str | None:
    """Why a connection may not be given these tags; None: it may, and is counted.

    A tag that it has already is never refused. Raises GarbageRecordError, StoreError.
    """
    limit, counted = context.limits.max_connections_per_tag, context.limits.counted_tags
    asked = [f"{key}={value}" for key, value in tags.items() if not counted or key in counted] if limit else []
    if not asked:
        return None
    record = await context.records.get(connection_id)
    has = record.tags if record is not None and not record.is_removed else {}
    for tag in asked:
        is_new = not _carries(has, tag)
        others = await _let_in(connection_id, tag, limit if is_new else None, context)
        if others is not None:
            what = f"{others} connections have the tag {tag[:128]}"
            return f"{what}, and no more than {limit} may (--max-connections-per-tag)"
    return None


async def _let_in(connection_id: str, tag: str, limit: int | None, context: Context) -> int | None:
    """Enter it as one of those with a tag. How many others have it, if there is no room."""
    if await _try_to_let_in(connection_id, tag, limit, context, tags_max=TIDIED_AT) is None:
        return None
    await _tidy(tag, context)
    return await _try_to_let_in(connection_id, tag, limit, context)


async def _try_to_let_in(
    connection_id: str, tag: str, limit: int | None, context: Context, tags_max: int | None = None
) -> int | None:
    others: int | None = None

    def decide(found: TagMembers | None) -> TagMembers | None:
        nonlocal others
        page, others = found or TagMembers(), None
        ids = page.of(tag)
        if connection_id not in ids:
            is_large = tags_max is not None and tag not in page.members and len(page.members) >= tags_max
            if limit is not None and (len(ids) >= limit or is_large):
                others = len(ids)
                return None
        elif limit is None:
            return None
        return page.with_member(tag, connection_id, context.clock.now().timestamp())

    await context.records.change(tags_key(tag), TagMembers, decide)
    return others


async def _tidy(tag: str, context: Context) -> None:
    """Take out what does not carry its tag any more."""
    key = tags_key(tag)
    page = await context.records.change(key, TagMembers, lambda _: None)
    tags: dict[str, Mapping[str, str]] = {}
    async for id_, record in context.records.get_many(sorted(page.ids()) if page is not None else ()):
        if isinstance(record, GarbageRecordError):
            continue
        tags[id_] = record.tags if record is not None and not record.is_removed else {}

    def carries(id_: str, tag: str) -> bool:
        return id_ not in tags or _carries(tags[id_], tag)

    now = context.clock.now().timestamp()
    await context.records.change(key, TagMembers, lambda found: found.tidied(carries, now) if found else None)


def _carries(tags: Mapping[str, str], tag: str) -> bool:
    return any(f"{key}={value}" == tag for key, value in tags.items())
