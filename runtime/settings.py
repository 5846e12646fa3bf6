"""Every setting of a process: environment variables with the prefix WSM_, overridden by options of `wsm run`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from runtime.ports import Limits, Names

_D = Limits()
_N = Names()


class Profile(StrEnum):
    """Where state and topics live."""

    EMBEDDED = "embedded"
    DAPR = "dapr"


class Mode(StrEnum):
    """Which part of the manager runs."""

    ALL = "all"
    HANDLERS = "handlers"
    HOST = "host"


class Settings(BaseSettings):
    """Settings of `wsm run`. Durations are in seconds."""

    model_config = SettingsConfigDict(env_prefix="WSM_", extra="forbid", populate_by_name=True)

    profile: Profile = Field(Profile.EMBEDDED, description="embedded: no sidecar; dapr: a real sidecar")
    mode: Mode = Field(Mode.ALL, description="which part runs")
    data: Path = Field(Path(".wsm"), description="data folder of the embedded profile")
    sink: str = Field(
        "stdout",
        validation_alias=AliasChoices("sink", "WSM_SINK", "K_SINK"),
        description="stdout, or a URL that takes CloudEvents",
    )
    sink_mode: Literal["binary", "structured"] = Field("binary", description="how CloudEvents are posted")
    host: str = Field(
        "127.0.0.1", description="address of the endpoint", pattern=r"^(127\.\d+\.\d+\.\d+|::1|localhost)$"
    )
    port: int = Field(
        3500,
        ge=0,
        le=65535,
        validation_alias=AliasChoices("port", "WSM_PORT", "DAPR_HTTP_PORT"),
        description="port of the endpoint; 0: any free one",
    )
    api_token: str | None = Field(
        None,
        validation_alias=AliasChoices("api_token", "WSM_API_TOKEN", "DAPR_API_TOKEN"),
        description="what callers must send as dapr-api-token",
        repr=False,
    )
    allow_private: bool = Field(default=False, description="dial loopback and private networks too")
    instance_id: str | None = Field(None, pattern=r"^[A-Za-z0-9._:-]{1,128}$", description="id of this host")
    log_format: Literal["auto", "console", "json"] = Field("auto", description="console on a terminal, else json")
    max_connections: int = Field(_D.max_connections, ge=1, description="connections of this host")
    max_handshakes: int = Field(_D.max_handshakes, ge=1, description="handshakes in flight")
    max_skew_s: float = Field(_D.max_skew_s, ge=0, description="how far ahead issuedAt may be")
    sweep_interval_s: float = Field(_D.sweep_interval_s, gt=0, description="between looks at all records")
    heartbeat_interval_s: float = Field(_D.heartbeat_interval_s, gt=0, description="between beats of the lease")
    tombstone_ttl_s: float = Field(_D.tombstone_ttl_s, ge=0, description="until a removed record is purged")
    drain_deadline_s: float = Field(_D.drain_deadline_s, gt=0, description="for an orderly stop")
    events_max: int = Field(_D.events_max, ge=10, description="events in memory while the sink is away")
    pubsub: str = Field(_N.pubsub, description="name of the pub/sub component")
    statestore: str = Field(_N.statestore, description="name of the state store")
    commands_topic: str = Field(_N.commands_topic, description="topic of commands")
    events_topic: str = Field(_N.events_topic, description="topic of status, gaps and outcomes")
    dead_letters_topic: str = Field(_N.dead_letters_topic, description="topic of dead letters")
    handlers_app_id: str = Field(_N.handlers_app_id, description="app-id of the handlers")
    host_app_id: str = Field(_N.host_app_id, description="app-id of the host")

    def names(self) -> Names:
        """The names of this deployment."""
        return Names(
            pubsub=self.pubsub,
            statestore=self.statestore,
            commands_topic=self.commands_topic,
            events_topic=self.events_topic,
            dead_letters_topic=self.dead_letters_topic,
            handlers_app_id=self.handlers_app_id,
            host_app_id=self.host_app_id,
        )

    def limits(self) -> Limits:
        """The bounds of this process."""
        return Limits(
            max_connections=self.max_connections,
            max_handshakes=self.max_handshakes,
            max_skew_s=self.max_skew_s,
            sweep_interval_s=self.sweep_interval_s,
            heartbeat_interval_s=self.heartbeat_interval_s,
            tombstone_ttl_s=self.tombstone_ttl_s,
            drain_deadline_s=self.drain_deadline_s,
            events_max=self.events_max,
            names=self.names(),
        )
