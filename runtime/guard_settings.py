"""Settings that `wsm run` shares with other commands: where the manager answers, and what may be dialled."""

from __future__ import annotations

import os
from collections.abc import Collection
from typing import Annotated

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from runtime.guard import Guard
from runtime.guard.entries import read_allowed, read_entries, read_prefixes
from runtime.ports import Names

PREFIX = "WSM_"
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9._:/-]{1,249}$")]
_N = Names()


class EndpointSettings(BaseSettings):
    """Where the manager answers: what `wsm run` and every command that speaks to it must agree on."""

    # The names among `validation_alias` are variables only: a platform's own PORT or API_TOKEN is none of ours.
    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, extra="forbid", populate_by_name=True, allow_inf_nan=False
    )

    host: str = Field(
        "127.0.0.1",
        pattern=r"^(127\.\d+\.\d+\.\d+|::1|localhost)$",
        description="address of the endpoint, on the loopback interface",
    )
    port: int = Field(
        3500,
        ge=0,
        le=65535,
        validation_alias=AliasChoices("WSM_PORT", "DAPR_HTTP_PORT"),
        description="port of the endpoint; 0: any free one; also by DAPR_HTTP_PORT",
    )
    api_token: SecretStr | None = Field(
        None,
        validation_alias=AliasChoices("WSM_API_TOKEN", "DAPR_API_TOKEN"),
        description="what callers must send as dapr-api-token; also by DAPR_API_TOKEN",
    )
    handlers_app_id: Name = Field(_N.handlers_app_id, description="app-id of the handlers")

    def token(self) -> str | None:
        """The API token in clear."""
        return self.api_token.get_secret_value() if self.api_token else None

    @classmethod
    def variables(cls, name: str) -> tuple[str, ...]:
        """The environment variables of a field; the first that is set counts."""
        alias = cls.model_fields[name].validation_alias
        return (
            tuple(str(choice) for choice in alias.choices)
            if isinstance(alias, AliasChoices)
            else (PREFIX + name.upper(),)
        )

    @classmethod
    def explain(cls, error: ValidationError, options: Collection[str] = ()) -> list[str]:
        """A line for each wrong setting, without its value, called as it was given: by option or by variable."""
        names = {spelling: name for name in cls.model_fields for spelling in (name, *cls.variables(name))}
        is_set = {variable.upper() for variable, value in os.environ.items() if value}
        lines = []
        for problem in error.errors(include_url=False, include_input=False):
            what = problem["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
            if not problem["loc"]:  # two settings contradict each other: the text names both
                lines.append(what)
                continue
            name = names[str(problem["loc"][0])]
            variables = cls.variables(name)
            variable = next((variable for variable in variables if variable in is_set), variables[0])
            shown = option(name) if name in options else variable
            lines.append(f"{shown}: {what}")
        return lines


class GuardSettings(EndpointSettings):
    """What may be dialled: also those of `wsm check`. A list has commas or blanks between its entries."""

    allow_private: bool = Field(default=False, description="dial loopback and private networks too")
    allow: str | None = Field(
        None,
        description="hosts, addresses and networks to dial although a rule of the guard refuses them: feed.internal, "
        "*.corp.example:443, 10.1.0.0/16:8000-8999, [fd00::1]:80; no name lets metadata or link-local addresses pass",
    )
    allow_only: str | None = Field(None, description="hosts, addresses and networks: dial nothing that is not in it")
    deny: str | None = Field(
        None, description="hosts, addresses and networks never to dial, or *:PORT; wins over all that is allowed"
    )
    nat64: str | None = Field(
        None, description="prefixes of NAT64 here, beside 64:ff9b::/96: judged as the IPv4 addresses that they carry"
    )

    @field_validator("allow")
    @classmethod
    def _allow_can_be_read(cls, value: str | None) -> str | None:
        read_allowed(value or "")
        return value

    @field_validator("allow_only", "deny")
    @classmethod
    def _entries_can_be_read(cls, value: str | None) -> str | None:
        read_entries(value or "")
        return value

    @field_validator("nat64")
    @classmethod
    def _prefixes_can_be_read(cls, value: str | None) -> str | None:
        read_prefixes(value or "")
        return value

    def guard(self) -> Guard:
        """What decides on every dial."""
        return Guard(
            allow_private=self.allow_private,
            allow=read_allowed(self.allow or ""),
            allow_only=read_entries(self.allow_only or ""),
            deny=read_entries(self.deny or ""),
            nat64=read_prefixes(self.nat64 or ""),
        )


def option(name: str) -> str:
    """The option of `wsm run` for a setting."""
    return f"--{name.replace('_', '-')}"
