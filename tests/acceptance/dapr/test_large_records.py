"""Records that together are more than the sidecar hands over in one answer."""

from __future__ import annotations

import pytest

from tests.acceptance.dapr.stack import Stack, eventually
from tests.peers import Talk, listening

pytestmark = [pytest.mark.acceptance, pytest.mark.asyncio(loop_scope="session")]

MIB = 1024 * 1024


async def test_records_of_more_than_4_mib_are_read_in_bulk_by_handlers_and_host(stack: Stack):
    ids = [f"heavy-{number}" for number in range(6)]

    async def talk(peer: Talk) -> None:
        await peer.accept()
        await peer.until_gone()

    async with listening(talk) as peer:
        options = {"openingMessages": ["z" * (MIB - 1)]}
        await stack.connect(*({"id": id_, "url": peer.url, "options": options} for id_ in ids))
        listed = {each["id"] for each in await stack.outsider.invoke("connections")}
        assert listed >= set(ids)

        stack.host.app.kill()  # the next one finds its connections by a sweep, which reads all records at once
        await stack.heal()
        await eventually(lambda: peer.dials == 2 * len(ids), "each is dialled again")
        assert not stack.host.app.logged("sweep_failed")
    for id_ in ids:
        await stack.outsider.invoke("disconnect", id=id_)
