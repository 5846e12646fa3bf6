"""deadLetters, replayDeadLetters: what was refused for good, shown without its payload, and taken in again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from runtime.context import Context
from runtime.errors import EventRefusedError, GarbageRecordError
from runtime.models.commands import is_connection_id
from runtime.models.connection import WebSocketConnection
from runtime.models.dead_letter import DeadLetter
from runtime.models.outbox import Outbox
from runtime.models.outcome import Outcome, OutcomeStatus
from runtime.models.wire import WireModel


class DeadLettersQuery(WireModel):
    """Those with these ids, or all."""

    ids: tuple[str, ...] | None = None

    def choose(self, letters: Iterable[DeadLetter]) -> list[DeadLetter]:
        """The letters that are asked for."""
        return [letter for letter in letters if self.ids is None or letter.id in self.ids]


async def read_dead_letters(query: DeadLettersQuery, context: Context) -> list[dict[str, Any]]:
    """What was refused, and why, the oldest first."""
    return [letter.view() for letter in query.choose(await context.dead_letters.read())]


async def replay_dead_letters(query: DeadLettersQuery, context: Context) -> dict[str, Any]:
    """Take each in again as if it came now, the oldest first; what is refused again becomes a new dead letter.

    A letter is taken out after its event has arrived: a process that dies in between replays it once more.
    """
    letters = query.choose(await context.dead_letters.read())
    replayed: list[str] = []
    refused: list[dict[str, str]] = []
    done: list[DeadLetter] = []
    try:
        for letter in letters:
            if letter.left_out_bytes:
                refused.append({"id": letter.id, "reason": "its data were too many to keep"})
                continue
            try:
                reason = await _replay(letter, context)
            except GarbageRecordError as error:
                refused.append({"id": letter.id, "reason": str(error)})  # unread: the letter stays as it is
                continue
            done.append(letter)
            if reason is None:
                replayed.append(letter.id)
            else:
                refused.append({"id": letter.id, "reason": reason})
    finally:
        if done:
            await context.dead_letters.remove(done)
    known = {letter.id for letter in letters}
    return {"replayed": replayed, "refused": refused, "notFound": [id_ for id_ in query.ids or () if id_ not in known]}


async def _replay(letter: DeadLetter, context: Context) -> str | None:
    """Returns why it is refused again, None when it is not."""
    if letter.topic == context.names.commands_topic:
        await _forget_rejection(letter, context)
    try:
        outcome = await context.take_in(letter.event)
    except EventRefusedError as error:
        again = DeadLetter.of(letter.event, str(error), context.clock.now())
        await context.take_in(again.carried_to(context.names.dead_letters_topic))
        return str(error)
    return outcome.reason if outcome is not None and outcome.status is OutcomeStatus.REJECTED else None


async def _forget_rejection(letter: DeadLetter, context: Context) -> None:
    """Record and outbox answer a repeated command from memory: what they rejected is to be judged anew."""

    def of_record(record: WebSocketConnection | None) -> WebSocketConnection | None:
        left = _without(letter.id, record.outcomes) if record is not None else None
        return None if record is None or left is None else record.changed(outcomes=left)

    def of_outbox(outbox: Outbox) -> Outbox | None:
        left = _without(letter.id, outbox.outcomes)
        return None if left is None else outbox.model_copy(update={"outcomes": left})

    if is_connection_id(letter.subject):
        await context.records.update(letter.subject, of_record)
        await context.records.update_outbox(letter.subject, of_outbox)


def _without(command_id: str, outcomes: dict[str, Outcome]) -> dict[str, Outcome] | None:
    """The outcomes without a rejection; None if there is nothing to forget."""
    known = outcomes.get(command_id)
    if known is None or known.status is not OutcomeStatus.REJECTED:
        return None
    return {key: outcome for key, outcome in outcomes.items() if key != command_id}
