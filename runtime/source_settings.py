"""Settings of what connections may get from outside before a dial: secrets, and calls that tell them."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import BaseModel, Field, field_validator

from runtime.guard.entries import split_list
from runtime.sources import HttpCaller, Invoker, SecretRule, Secrets, Sources, read_secret_rules

_D = Sources()
_APP = re.compile(r"[A-Za-z0-9._-]+/(?:\*|[A-Za-z0-9._~/-]+\*?)")


class SourceSettings(BaseModel):
    """Whoever can command connections can have these secrets sent to them, and these apps called: none by default."""

    secrets: str | None = Field(
        None,
        description="secrets that options may refer to: vault/feed-token, vault/feed-*, "
        "vault/feed-*@*.feed.example for those hosts only",
    )
    secrets_file: Path | None = Field(
        None, description="JSON object of texts: the secret store named file, in the embedded profile; env is another"
    )
    secrets_cache_s: float = Field(_D.cache_s, ge=0, le=86400, description="how long a secret is used again; 0: never")
    prepare_apps: str | None = Field(
        None, description="what prepare calls may invoke with dapr: tokens/feed, tokens/feed/*"
    )

    @field_validator("secrets")
    @classmethod
    def _secrets_can_be_read(cls, value: str | None) -> str | None:
        read_secret_rules(value or "")
        return value

    @field_validator("prepare_apps")
    @classmethod
    def _apps_can_be_read(cls, value: str | None) -> str | None:
        for entry in split_list(value):
            if not _APP.fullmatch(entry):
                raise ValueError(f"'{entry}' is neither APP/METHOD nor APP/BEGINNING*")
        return value

    def secret_rules(self) -> tuple[SecretRule, ...]:
        """Which secrets may be read, and for whom."""
        return read_secret_rules(self.secrets or "")

    def sources(self, secrets: Secrets, http: HttpCaller, invoker: Invoker | None = None) -> Sources:
        """What a profile has, under these settings."""
        return Sources(
            secrets=secrets,
            invoker=invoker or _D.invoker,
            http=http,
            rules=self.secret_rules(),
            apps=tuple(split_list(self.prepare_apps)),
            cache_s=self.secrets_cache_s,
        )
