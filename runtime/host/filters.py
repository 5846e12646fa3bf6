"""Which messages of a connection are published, where its options ask to look at each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from runtime.correlation import Expectation, expected
from runtime.host.heartbeat import Beat
from runtime.models.options import WebSocketOptions


@dataclass(slots=True)
class Filters:
    """Judges messages. `beat`: whose answers are among them; `announced`: told when one announces the peer's close."""

    only_text: bool
    only_matching: Expectation | None
    drop_matching: Expectation | None
    rotate_on: Expectation | None
    beat: Beat | None
    publishes_answers: bool
    announced: Callable[[], None]

    @classmethod
    def of(cls, options: WebSocketOptions, beat: Beat | None, announced: Callable[[], None]) -> Filters | None:
        """As the options say; None where they ask for nothing."""
        listens = beat is not None and beat.heartbeat.expect is not None
        conditions = (options.only_matching, options.drop_matching, options.rotate_on)
        if not (listens or options.only_text or any(condition is not None for condition in conditions)):
            return None
        return cls(
            options.only_text,
            expected(options.only_matching),
            expected(options.drop_matching),
            expected(options.rotate_on),
            beat if listens else None,
            publishes_answers=beat is None or beat.heartbeat.publish_answers,
            announced=announced,
        )

    def judge(self, message: str | bytes) -> tuple[bool, bool]:
        """Whether a message is published, and whether it shows that the feed is alive.

        To be asked once for each, in the order received.
        """
        if self.rotate_on is not None and self.rotate_on.is_met_by(message):
            self.announced()
        is_answer = self.beat is not None and self.beat.is_answered_by(message)
        if (is_answer and not self.publishes_answers) or _is_met(self.drop_matching, message):
            return False, False
        is_left_out = self.only_text and isinstance(message, bytes)
        if not is_left_out and self.only_matching is not None:
            is_left_out = not self.only_matching.is_met_by(message)
        return not is_left_out, not is_answer


def _is_met(expectation: Expectation | None, message: str | bytes) -> bool:
    return expectation is not None and expectation.is_met_by(message)
