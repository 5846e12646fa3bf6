"""Which app-id a sidecar of our own goes by."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from runtime.cli.own_app_id import own_app_id


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path


def test_it_is_used_again():
    with own_app_id("tail") as (first, _):
        assert first.startswith("wsm-tail-")
    with own_app_id("tail") as (second, _):
        assert second == first


def test_no_two_have_the_same_at_once_and_both_are_used_again():
    with own_app_id("tail") as (first, _), own_app_id("tail") as (second, _):
        assert second != first
    with own_app_id("tail") as (third, _), own_app_id("tail") as (fourth, _):
        assert {third, fourth} == {first, second}


def test_each_purpose_has_its_own():
    with own_app_id("tail") as (first, _):
        pass
    with own_app_id("other") as (second, _):
        assert second.startswith("wsm-other-")
        assert second != first


def test_it_is_taken_as_long_as_a_sidecar_lives_that_was_left_behind():
    with own_app_id("tail") as (first, locks):
        orphan = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, pass_fds=locks)
    with own_app_id("tail") as (second, _):
        assert second != first
    orphan.communicate()
    with own_app_id("tail") as (third, _), own_app_id("tail") as (fourth, _):
        assert {third, fourth} == {first, second}


@pytest.mark.parametrize("where", ["file", "file/below"])
def test_where_none_can_be_kept_it_is_a_new_one(state: Path, monkeypatch: pytest.MonkeyPatch, where: str):
    (state / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(state / where))
    with own_app_id("tail") as (first, _), own_app_id("tail") as (second, _):
        assert first != second
