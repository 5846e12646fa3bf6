"""What counts dials and changes answers, around the real parts of a dial."""

from __future__ import annotations

from runtime.adapters.sockets import WebSocketDialer
from runtime.ports import Dial, Socket


class CountingDialer:
    """The real dialer, which counts and remembers where it was sent."""

    def __init__(self) -> None:
        self.dials: list[tuple[str, ...]] = []
        self.dialer = WebSocketDialer()

    async def dial(self, dial: Dial) -> Socket:
        self.dials.append(dial.addresses)
        return await self.dialer.dial(dial)


class ChangingResolver:
    """Gives one answer after the other, as whoever rebinds a name does; the last one stays."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def resolve(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
