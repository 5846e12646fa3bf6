"""Events of anybody, as `wsm tail` shows them: one line that steers no terminal."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from runtime.adapters.event_lines import COLOURS, event_line
from tests.fuzz.effort import effort
from tests.fuzz.values import anything, clean_text, mutated

_fields = {
    **dict.fromkeys(
        ["websocketId", "connectionId", "status", "reason", "command", "kind", "fromTime", "toTime"], clean_text
    ),
    **dict.fromkeys(["epoch", "sequence", "attempt", "retryInS", "fromSequence", "toSequence"], st.integers()),
    **dict.fromkeys(["payload", "answer"], anything),
}
_data = st.fixed_dictionaries({}, optional=_fields)
_type = st.sampled_from(sorted(COLOURS)).map("io.websocket-manager.{}".format) | clean_text
_event = st.fixed_dictionaries(
    {"type": _type, "data": _data | st.lists(_data, max_size=3)}, optional={"time": clean_text, "topic": clean_text}
)


@effort(500)
@given(mutated(_event))
def test_any_event_is_shown_on_one_line_without_control_characters(event: dict[str, Any]):
    line = event_line(event).plain
    assert not {char for char in line if char < " " or "\x7f" <= char <= "\x9f"}
