"""Reads a multi-app run template as `dapr run -f` does: what it starts, where, and with which variables.

The CLI passes over what it does not know, without a word. Here whatever is not in these tables fails.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

_OF_APP = {
    "appID": "--app-id",
    "appPort": "--app-port",
    "daprHTTPPort": "--dapr-http-port",
    "daprGRPCPort": "--dapr-grpc-port",
    "daprInternalGRPCPort": "--dapr-internal-grpc-port",
    "metricsPort": "--metrics-port",
}
_SHARED = {
    "appProtocol": "--app-protocol",
    "apiListenAddresses": "--dapr-listen-addresses",
    "enableAppHealthCheck": "--enable-app-health-check",
    "resourcesPaths": "--resources-path",
}
"""What `common` may say for all apps, and an app for itself."""
_VARIABLES = {
    "APP_ID": "appID",
    "APP_PORT": "appPort",
    "APP_PROTOCOL": "appProtocol",
    "DAPR_HTTP_PORT": "daprHTTPPort",
    "DAPR_GRPC_PORT": "daprGRPCPort",
    "DAPR_METRICS_PORT": "metricsPort",
}
"""What an app learns beside its `env`. Its sidecar gets nothing but what the CLI itself was started with."""


@dataclass(frozen=True, slots=True)
class Described:
    """An app, and the options of its sidecar. Both run in `folder`; `env` is the app's alone."""

    app_id: str
    folder: Path
    options: list[str]
    command: list[str]
    env: dict[str, str]


def read_template(path: Path, move: Callable[[int], int] = lambda port: port) -> list[Described]:
    """The apps that a template describes, with each port moved. Fails at what the CLI would refuse or pass over."""
    template = yaml.safe_load(path.read_text())
    _check("the file", template, {"version", "common", "apps"})
    assert template["version"] == 1
    common = template["common"]
    _check("common", common, {*_SHARED, "env"})
    for app in template["apps"]:
        _check(str(app.get("appID")), app, {*_OF_APP, *_SHARED, "appDirPath", "command", "env"})
    common = _resolved(common, path.parent)
    return [_described(app, common, path.parent, move) for app in template["apps"]]


def _described(app: Mapping[str, Any], common: Mapping[str, Any], base: Path, move: Callable[[int], int]) -> Described:
    folder = (base / app["appDirPath"]).resolve(strict=True)
    told = {**common, **_resolved(app, folder)}
    told |= {key: move(value) for key, value in told.items() if key.endswith("Port")}
    env = {key: str(value) for key, value in {**common.get("env", {}), **app.get("env", {})}.items()}
    env |= {name: str(move(int(value))) for name, value in env.items() if name.endswith("_PORT")}
    return Described(
        app_id=told["appID"],
        folder=folder,
        options=[word for key, option in {**_OF_APP, **_SHARED}.items() for word in _words(option, told.get(key))],
        command=told["command"],
        env={name: str(told[key]) for name, key in _VARIABLES.items() if key in told} | env,
    )


def _check(where: str, section: Mapping[str, Any], known: set[str]) -> None:
    unknown = sorted(section.keys() - known)
    assert not unknown, f"{where} has {unknown}: the CLI passes over it, or tests/run_template.py does not know it yet"


def _resolved(section: Mapping[str, Any], base: Path) -> dict[str, Any]:
    """A section with its paths absolute: those of `common` start at the file, those of an app at its folder."""
    key = "resourcesPaths"
    paths = {key: [(base / each).resolve(strict=True) for each in section[key]]} if key in section else {}
    return {**section, **paths}


def _words(option: str, value: Any) -> list[str]:
    match value:
        case None | False:
            return []
        case True:
            return [option]
        case [*several]:
            return [word for each in several for word in (option, str(each))]
        case one:
            return [option, str(one)]
