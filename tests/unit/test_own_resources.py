"""Which components a sidecar of our own gets changed, and that no others are."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from runtime.cli.calls import CallFailed
from runtime.cli.own_resources import copy_in_order

COMPONENTS = Path(__file__).parents[2] / "components"
ONE = {"name": "concurrency", "value": "1"}
SINGLE = {"name": "concurrency", "value": "single"}
CHANGED = {"local": ONE, "postgres": ONE, "rabbitmq": SINGLE, "jetstream": SINGLE}
REDIS = b"""\
kind: Component
metadata: {name: a}
spec:
  type: pubsub.redis
  metadata:
    - {name: redisPassword, value: "1e5"}
    - {name: Concurrency, value: "10"}
    - {name: redisHost, envRef: REDIS_HOST}
"""


def copied(folder: Path, text: bytes) -> bytes:
    source = folder / "source"
    source.mkdir()
    (source / "some.yaml").write_bytes(text)
    return (copy_in_order(source, folder / "target") / "some.yaml").read_bytes()


@pytest.mark.parametrize("name", sorted(path.name for path in COMPONENTS.iterdir() if path.is_dir()))
def test_of_our_sets_only_a_broker_on_redis_rabbitmq_or_jetstream_is_changed(tmp_path: Path, name: str):
    source, target = COMPONENTS / name, copy_in_order(COMPONENTS / name, tmp_path / "target")
    assert {path.name for path in target.iterdir()} == {path.name for path in source.iterdir()}
    changed = {path.name for path in target.iterdir() if path.read_bytes() != (source / path.name).read_bytes()}
    assert changed == ({"pubsub.yaml"} if name in CHANGED else set())
    if changed:
        before, after = (yaml.safe_load((folder / "pubsub.yaml").read_bytes()) for folder in (source, target))
        items = before["spec"]["metadata"]
        items[[item["name"] for item in items].index("concurrency")] = CHANGED[name]
        assert sorted(after["spec"].pop("metadata"), key=str) == sorted(before["spec"].pop("metadata"), key=str)
        assert after == before


def test_each_document_of_a_file_is_looked_at_and_strings_stay_strings(tmp_path: Path):
    other = b"kind: Component\nspec: {type: pubsub.in-memory, ignoreErrors: true, metadata: []}\non: 1\n"
    first, second = copied(tmp_path, other + b"---\n" + REDIS).split(b"\n---\n")
    assert yaml.safe_load(first)["spec"] == yaml.safe_load(other)["spec"]
    assert b'"1e5"' in second
    (password, host, ours) = yaml.safe_load(second)["spec"]["metadata"]
    assert (password["value"], host["envRef"], ours) == ("1e5", "REDIS_HOST", ONE)


@pytest.mark.parametrize(
    "text",
    [
        REDIS.replace(b"pubsub.redis", b"pubsub.kafka"),
        REDIS.replace(b"kind: Component", b"kind: Resiliency"),
        b"kind: Component\nspec: {type: pubsub.redis, metadata: none}\n",
        b"kind: Component\nspec: pubsub.redis\n",
        b"- pubsub.redis\n---\n",
        b"pubsub.redis: {",
        b"\xff\xfe\xff",
        REDIS + b"  since: 2026-13-01\n",
        b"",
    ],
)
def test_what_is_no_such_broker_stays_as_it_is_byte_for_byte(tmp_path: Path, text: bytes):
    assert copied(tmp_path, text) == text


def test_what_a_sidecar_would_not_read_is_not_copied(tmp_path: Path):
    source = tmp_path / "source"
    (source / "folder.yaml").mkdir(parents=True)
    (source / "key.pem").write_text("secret")
    assert list(copy_in_order(source, tmp_path / "target").iterdir()) == []


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path):
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "some.yaml").symlink_to("/proc/self/mem")
    with pytest.raises(CallFailed, match="cannot be read"):
        copy_in_order(tmp_path / "source", tmp_path / "target")


def test_a_folder_that_is_missing_is_left_to_the_sidecar(tmp_path: Path):
    assert copy_in_order(tmp_path / "none", tmp_path / "target") == tmp_path / "none"
