"""The secret stores of the embedded profile, and the settings that say what may be read."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from runtime.adapters.embedded.secrets import LocalSecrets
from runtime.errors import ManagerError, NotFoundError, TransientError
from runtime.settings import Settings

PLANTED = "pl4nted"


async def test_a_file_is_read_anew_each_time_and_holds_texts_only(tmp_path: Path):
    path = tmp_path / "secrets.json"
    secrets = LocalSecrets(path, {})
    with pytest.raises(NotFoundError):
        await secrets.secret("file", "token")
    path.write_text(json.dumps({"token": PLANTED, "number": 5}))
    assert await secrets.secret("file", "token") == PLANTED
    path.write_text(json.dumps({"token": "other"}))
    assert await secrets.secret("file", "token") == "other"
    for name in ("absent", "number"):
        with pytest.raises(NotFoundError):
            await secrets.secret("file", name)


@pytest.mark.parametrize("content", [f'{{"token": "{PLANTED}', f'["{PLANTED}"]', f'"{PLANTED}"', "", PLANTED])
async def test_a_file_that_cannot_be_read_is_not_quoted(tmp_path: Path, content: str):
    path = tmp_path / "secrets.json"
    path.write_text(content)
    with pytest.raises(ManagerError) as caught:
        await LocalSecrets(path, {}).secret("file", "token")
    assert PLANTED not in f"{caught.value} {caught.value.__cause__}"
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


async def test_a_folder_in_place_of_the_file_may_be_put_right_later(tmp_path: Path):
    with pytest.raises(TransientError):
        await LocalSecrets(tmp_path, {}).secret("file", "token")


async def test_the_environment_is_a_store_and_others_are_not_there():
    secrets = LocalSecrets(None, {"TOKEN": PLANTED, "BAD": os.fsdecode(b"\xff")})
    assert await secrets.secret("env", "TOKEN") == PLANTED
    for store, name in (("env", "ABSENT"), ("env", "BAD"), ("file", "TOKEN"), ("vault", "TOKEN")):
        with pytest.raises(NotFoundError):
            await secrets.secret(store, name)


@pytest.mark.parametrize("text", ["token", "vault/", "/token", "vault/*token", "vault/to*ken", "vault/token@", "*"])
def test_a_list_of_secrets_that_cannot_be_read_is_refused_and_not_quoted(text: str):
    with pytest.raises(ValidationError) as caught:
        Settings(secrets=f"vault/good, {text}")
    (line,) = Settings.explain(caught.value, ["secrets"])
    assert line.startswith("--secrets: ")
    assert "'" not in line


@pytest.mark.parametrize("text", ["tokens", "tokens/", "/feed", "tokens/fe*ed", "*/feed", "tokens feed"])
def test_a_list_of_apps_that_cannot_be_read_is_refused(text: str):
    with pytest.raises(ValidationError):
        Settings(prepare_apps=text)


def test_without_settings_no_secret_may_be_read_and_no_app_called():
    sources = Settings().sources(LocalSecrets(None), http=None)  # type: ignore[arg-type]
    assert (sources.rules, sources.apps, sources.cache_s) == ((), (), 60)
