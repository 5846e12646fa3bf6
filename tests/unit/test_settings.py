"""Settings: the options of `wsm run`, the environment, and what each of them refuses."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from pydantic import ValidationError

import runtime.app
from runtime.identity import InstanceIdProvider
from runtime.ports import Limits, Names
from runtime.settings import EndpointSettings, Profile, Settings, option, unknown_variables
from tests.wsm import CLEAN, wsm


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch):
    for name in CLEAN:
        monkeypatch.delenv(name)


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """The settings that `wsm run` would have started with."""
    started: list[Settings] = []

    def run_app(settings: Settings) -> int:
        started.append(settings)
        return 0

    monkeypatch.setattr(runtime.app, "run_app", run_app)
    return started


def test_the_defaults_are_those_of_the_ports():
    settings = Settings()
    assert settings.limits() == Limits()
    assert settings.names() == Names()
    assert (settings.sink, settings.port, str(settings.data)) == ("stdout", 3500, ".wsm")


def test_run_has_an_option_for_every_setting_with_description_default_and_unit():
    helped = wsm("run", "--help")
    assert helped.code == 0
    shown = " ".join(helped.stdout.split()).replace("- ", "-")
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert field.description in shown, name
        if name in {"api_token", "app_api_token"}:
            assert f"{option(name)} " not in shown
            continue
        assert f"{option(name)} " in shown, name
        if name.endswith("_s"):
            assert f"{option(name)} SECONDS" in shown
        if field.default not in (None, False):
            value = f"{field.default:g}" if isinstance(field.default, float) else field.default
            value = option(name)[2:] if value is True else value
            assert f"[default: {value}]" in shown, name
    assert "WSM_API_TOKEN" in shown
    assert "WSM_APP_API_TOKEN" in shown


def test_an_option_wins_over_the_environment_and_that_over_the_default(ran: list[Settings]):
    env: Any = {"WSM_MAX_HANDSHAKES": "7", "WSM_PORT": "1", "DAPR_HTTP_PORT": "2", "WSM_ALLOW_PRIVATE": "true"}
    args = ["--port", "3", "--max-skew-s", "0.5", "--no-allow-private", "--log-format", "json", "--data", "there"]
    assert wsm("run", *args, **env).code == 0
    (settings,) = ran
    assert (settings.port, settings.max_handshakes, settings.max_connections) == (3, 7, Limits().max_connections)
    assert (settings.max_skew_s, settings.allow_private, settings.log_format) == (0.5, False, "json")
    assert str(settings.data) == "there"


def test_an_option_that_repeats_the_default_still_wins(ran: list[Settings]):
    assert wsm("run", "--port", "3500", WSM_PORT="1").code == 0
    assert ran[0].port == 3500


def test_our_own_variable_wins_over_the_platforms(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("K_SINK", "http://k.example")
    monkeypatch.setenv("DAPR_HTTP_PORT", "2")
    monkeypatch.setenv("WSM_SINK", "")  # an empty variable is none
    assert (Settings().sink, Settings().port) == ("http://k.example", 2)
    monkeypatch.setenv("WSM_SINK", "stdout")
    monkeypatch.setenv("WSM_PORT", "1")
    assert (Settings().sink, Settings().port) == ("stdout", 1)


def test_variables_of_others_are_not_ours(monkeypatch: pytest.MonkeyPatch):
    """Knative, Cloud Run and others set PORT for every container."""
    for name in ("PORT", "SINK", "API_TOKEN", "HOST", "DATA"):
        monkeypatch.setenv(name, "9")
    assert Settings() == Settings.model_construct(**{name: f.default for name, f in Settings.model_fields.items()})


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--port", "70000"], "--port: must be less than or equal to 65535"),
        (["--max-connections", "0"], "--max-connections: must be greater than or equal to 1"),
        (["--heartbeat-interval-s", "0"], "--heartbeat-interval-s: must be greater than 0"),
        (["--sweep-interval-s", "inf"], "--sweep-interval-s: must be a finite number"),
        (["--sink", "ftp://x"], "--sink: must be stdout, or a URL that starts with http:// or https://"),
        (["--mode", "host"], "the mode host needs the profile dapr"),
        (["--mode", "handlers"], "the mode handlers needs the profile dapr"),
        (["--lease-s", "1", "--heartbeat-interval-s", "2"], "--lease-s (1) must be at least three times"),
        (
            ["--profile", "dapr", "--lease-s", "9"],
            "--lease-s (9) must be at least three times --heartbeat-interval-s (5)",
        ),
        (["--loop-stall-limit-s", "0.5"], "--loop-stall-limit-s: must be greater than or equal to 1"),
        (["--host", "0.0.0.0"], "--host: String should match pattern"),
        (["--instance-id", "a b"], "--instance-id: String should match pattern"),
        (["--commands-topic", ""], "--commands-topic: String should match pattern"),
    ],
)
def test_a_wrong_option_is_named_and_ends_with_2(ran: list[Settings], args: list[str], said: str):
    result = wsm("run", *args)
    assert (result.code, result.stdout, ran) == (2, "", [])
    assert result.stderr.startswith(f"error: {said}")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--port", "x"], "'--port': Input should be a valid integer"),
        (["--mode", "some"], "'all', 'handlers', 'host'"),
        (["--sink-mode", "some"], "'binary', 'structured'"),
        (["--prot", "1"], "No such option: --prot"),
        (["extra"], "unexpected extra argument"),
    ],
)
def test_what_cannot_be_read_as_an_option_ends_with_2(ran: list[Settings], args: list[str], said: str):
    result = wsm("run", *args)
    assert (result.code, result.stdout, ran) == (2, "", [])
    assert said in " ".join(result.stderr.replace("│", " ").split())


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"WSM_PORT": "x"}, "WSM_PORT: must be a valid integer"),
        ({"DAPR_HTTP_PORT": "-1"}, "DAPR_HTTP_PORT: must be greater than or equal to 0"),
        ({"K_SINK": "s3cret"}, "K_SINK: must be stdout, or a URL"),
        ({"WSM_MODE": "some"}, "WSM_MODE: must be 'all', 'handlers' or 'host'"),
        ({"WSM_MODE": "host"}, "the mode host needs the profile dapr"),
        ({"WSM_MAX_SKEW_S": "s3cret"}, "WSM_MAX_SKEW_S: must be a valid number"),
    ],
)
def test_a_wrong_variable_is_named_as_it_was_given_without_its_value(ran: list[Settings], env: Any, said: str):
    result = wsm("run", **env)
    assert (result.code, result.stdout, ran) == (2, "", [])
    assert result.stderr.startswith(f"error: {said}")
    assert "s3cret" not in result.stderr


def test_all_wrong_settings_are_told_at_once():
    result = wsm("run", "--port", "-1", WSM_MODE="some")
    assert [line.split(":")[1].strip() for line in result.stderr.splitlines()] == ["--port", "WSM_MODE"]


def test_a_sidecar_is_swept_by_cron_so_the_process_itself_looks_seldom():
    assert (Settings().limits().sweep_interval_s, Settings().limits().heartbeat_interval_s) == (10, 0.1)
    limits = Settings(profile=Profile.DAPR).limits()
    assert (limits.sweep_interval_s, limits.heartbeat_interval_s, limits.lease_s) == (600, 5, 15)
    assert Settings(profile=Profile.DAPR, sweep_interval_s=1.5).limits().sweep_interval_s == 1.5


def test_the_token_is_shown_nowhere(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DAPR_API_TOKEN", "s3cret")
    settings = Settings()
    assert settings.token() == "s3cret"
    assert "s3cret" not in f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"
    assert EndpointSettings(api_token=None).token() is None
    assert "s3cret" not in wsm("run", "--help", DAPR_API_TOKEN="s3cret").stdout
    with pytest.raises(ValidationError) as wrong:
        Settings(port=-1)
    assert "s3cret" not in "".join(Settings.explain(wrong.value))


def test_a_misspelt_variable_is_found_with_the_one_that_may_be_meant():
    names = ["WSM_PORT", "wsm_data", "WSM_PROT", "WSM_SOMETHING_ELSE", "PATH", "DAPR_HTTP_PORT", "WSM_API_TOKEN"]
    assert unknown_variables(names) == [("WSM_PROT", "WSM_PORT"), ("WSM_SOMETHING_ELSE", None)]


def test_the_instance_id_is_the_configured_else_the_platforms_else_the_hosts(monkeypatch: pytest.MonkeyPatch):
    for name in ("CONTAINER_APP_REPLICA_NAME", "POD_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(socket, "gethostname", lambda: "my host!" + "x" * 200)
    assert InstanceIdProvider().get_instance_id() == ("my-host-" + "x" * 200)[:128]
    monkeypatch.setenv("POD_NAME", "pod-0")
    assert InstanceIdProvider().get_instance_id() == "pod-0"
    monkeypatch.setenv("CONTAINER_APP_REPLICA_NAME", "replica-0")
    assert InstanceIdProvider().get_instance_id() == "replica-0"
    assert InstanceIdProvider("mine").get_instance_id() == "mine"
    assert InstanceIdProvider().incarnation != InstanceIdProvider().incarnation
