"""The three imitations at once, for whoever follows a recipe by hand: `python -m tests.acceptance.recipes.play`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from tests.acceptance.recipes.charger import Charger, charging
from tests.acceptance.recipes.exchange import Exchange, trading
from tests.acceptance.recipes.gateway import Gateway, chatting

DAY_S = 60.0


@asynccontextmanager
async def playing() -> AsyncIterator[dict[str, str]]:
    """Have them listen on free ports: what stands on a page, and what to put there."""
    async with (
        trading(Exchange(interval_s=0.5, day_s=DAY_S)) as exchange,
        chatting(Gateway("our-secret", "a token of the service", heartbeat_s=60)) as gateway,
        charging(Charger("Basic Y2hhcmdlci03Om9wZW4gc2VzYW1l")) as charger,
    ):
        yield {
            "wss://stream.exchange.example": exchange.place,
            "wss://gateway.chat.example": f"ws://127.0.0.1:{gateway.port}",
            "https://gateway.chat.example": f"http://127.0.0.1:{gateway.port}",
            "wss://cp7.chargers.example": charger.place,
        }


async def main() -> None:
    """Listen until Ctrl-C."""
    async with playing() as places:
        for written, place in places.items():
            sys.stdout.write(f"{written}  {place}\n")
        sys.stdout.write(f"a day of the exchange takes {DAY_S:g} s: set maxAgeS below that\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main())
