"""What a platform says that each CloudEvent must carry besides its own attributes."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from runtime.settings import Settings
from runtime.sink_extensions import read_overrides


@pytest.mark.parametrize("text", ["", " ", "{}", '{"extensions": null}', '{"extensions": {}}'])
def test_a_binding_without_overrides_adds_nothing(text: str):
    assert read_overrides(text) == {}


def test_the_platforms_variable_is_read_and_ours_goes_first(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("K_CE_OVERRIDES", '{"extensions": {"team": "feeds"}}')
    assert Settings().sink_extensions() == {"team": "feeds"}
    monkeypatch.setenv("WSM_SINK_OVERRIDES", "{}")
    assert Settings().sink_extensions() == {}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("team=feeds", "is not JSON"),
        ("[]", "nothing but"),
        ('{"extensions": {}, "type": "x"}', "nothing but"),
        ('{"extensions": ["team"]}', "which is a JSON object of texts"),
        ('{"extensions": {"Team": "feeds"}}', "lower case letters and digits"),
        ('{"extensions": {"": "feeds"}}', "lower case letters and digits"),
        ('{"extensions": {"a-b": "feeds"}}', "lower case letters and digits"),
        ('{"extensions": {"id": "1"}}', "the manager sets 'id' itself"),
        ('{"extensions": {"topic": "t"}}', "the manager sets 'topic' itself"),
        ('{"extensions": {"team": 7}}', "'team' must be a text"),
    ],
)
def test_what_no_cloudevent_can_carry_is_refused_with_the_reason(text: str, reason: str):
    with pytest.raises(ValidationError, match=reason):
        Settings(sink_overrides=text)
