"""Every setting of a process: environment variables with the prefix WSM_, overridden by options of `wsm run`."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import Literal, Self

from pydantic import AliasChoices, Field, SecretStr, field_validator, model_validator

from runtime.guard_settings import PREFIX, Name
from runtime.guard_settings import EndpointSettings as EndpointSettings
from runtime.guard_settings import GuardSettings as GuardSettings
from runtime.guard_settings import option as option
from runtime.limit_settings import LimitSettings
from runtime.ports import Limits, Names
from runtime.sink_extensions import read_overrides
from runtime.source_settings import SourceSettings

_OF_TAIL = PREFIX + "RESOURCES"  # an option of another command
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


class Settings(LimitSettings, SourceSettings, GuardSettings):
    """Settings of `wsm run`. Durations are in seconds."""

    profile: Profile = Field(Profile.EMBEDDED, description="embedded: no sidecar; dapr: a real one")
    mode: Mode = Field(Mode.ALL, description="which part runs; handlers and host alone need the profile dapr")
    data: Path = Field(Path(".wsm"), description="data folder of the embedded profile")
    sink: str = Field(
        "stdout",
        validation_alias=AliasChoices("WSM_SINK", "K_SINK"),
        description="stdout, or a URL that takes CloudEvents; also by K_SINK",
    )
    sink_mode: Literal["binary", "structured"] = Field("binary", description="how CloudEvents are posted")
    sink_overrides: str | None = Field(
        None,
        validation_alias=AliasChoices("WSM_SINK_OVERRIDES", "K_CE_OVERRIDES"),
        description='attributes that each posted CloudEvent gets: {"extensions": {"team": "feeds"}}; '
        "also by K_CE_OVERRIDES",
    )
    app_port: int = Field(
        6001,
        ge=0,
        le=65535,
        validation_alias=AliasChoices("WSM_APP_PORT", "APP_PORT"),
        description="port on which the sidecar calls this process; 0: any free one; also by APP_PORT",
    )
    app_api_token: SecretStr | None = Field(
        None,
        validation_alias=AliasChoices("WSM_APP_API_TOKEN", "APP_API_TOKEN"),
        description="what the sidecar must send as dapr-api-token; also by APP_API_TOKEN",
    )
    events_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="with dapr, port on which the handlers take CloudEvents by HTTP POST; 0: any free one; else none",
    )
    events_host: str = Field(
        "127.0.0.1",
        pattern=r"^[0-9A-Fa-f.:]{2,45}$",
        description="address of that port; 0.0.0.0 for calls from outside",
    )
    dapr_grpc_port: int = Field(
        50001,
        ge=1,
        le=65535,
        validation_alias=AliasChoices("WSM_DAPR_GRPC_PORT", "DAPR_GRPC_PORT"),
        description="gRPC port of the sidecar; also by DAPR_GRPC_PORT",
    )
    sidecar_timeout_s: float = Field(60, gt=0, description="wait for the sidecar at the start")
    lanes: int = Field(4, ge=1, le=64, description="publish calls in flight to the sidecar")
    instance_id: str | None = Field(
        None, pattern=r"^[A-Za-z0-9._:-]{1,128}$", description="id of this host; else the platform's, or the host name"
    )
    ops: bool = Field(default=True, description="answer /livez, /readyz and /metrics")
    ops_host: str = Field(
        "127.0.0.1",
        pattern=r"^[0-9A-Fa-f.:]{2,45}$",
        description="address of these answers; 0.0.0.0 for probes from outside, as those of Kubernetes",
    )
    ops_port: int = Field(
        9464,
        ge=0,
        le=65535,
        description="port of these answers; 0: any free one; the default one, when taken, is gone without",
    )
    log_format: Literal["auto", "console", "json"] = Field("auto", description="auto: console on a terminal, else json")
    max_connections: int = Field(_D.max_connections, ge=1, description="connections of this host")
    max_handshakes: int = Field(_D.max_handshakes, ge=1, description="handshakes in flight")
    max_skew_s: float = Field(_D.max_skew_s, ge=0, description="how far ahead issuedAt may be")
    sweep_interval_s: float | None = Field(
        None, gt=0, description="between looks at all records; else 10, with dapr 600, since cron does the rest"
    )
    heartbeat_interval_s: float | None = Field(
        None, gt=0, description="between beats of the lease; else 0.1, with dapr 5"
    )
    lease_s: float = Field(_D.lease_s, gt=0, description="silence after which another host is taken for dead")
    tombstone_ttl_s: float = Field(_D.tombstone_ttl_s, ge=0, description="until a removed record is purged")
    drain_deadline_s: float = Field(_D.drain_deadline_s, gt=0, description="for an orderly stop")
    handover_s: float = Field(_D.handover_s, gt=0, description="wait for the other host when a connection moves")
    fencing: Literal["open", "strict"] = Field(
        "open", description="when the lease has run out, sockets stay open, or with strict are closed"
    )
    rebalance: bool = Field(default=True, description="hand over what exceeds this host's share of all connections")
    loop_stall_limit_s: float = Field(
        _D.loop_stall_limit_s, ge=1, description="a stall after which this process gives up its lease"
    )
    sweep_rate: int = Field(_D.sweep_rate, ge=1, description="records a second that a look at all of them reads")
    index_shards: int = Field(
        _D.index_shards, ge=1, le=1024, description="keys of the index; fixed when a store is first used"
    )
    vitals_interval_s: float = Field(_D.vitals_interval_s, gt=0, description="between writes of what `list` shows")
    events_max: int = Field(_D.events_max, ge=10, description="events in memory while the sink is away")
    queues_max_bytes: int = Field(
        _D.queues_max_bytes, ge=1024**2, description="memory of frames that are read and not yet published, in all"
    )
    pubsub: Name = Field(_N.pubsub, description="name of the pub/sub component")
    statestore: Name = Field(_N.statestore, description="name of the state store")
    commands_topic: Name = Field(_N.commands_topic, description="topic of commands")
    events_topic: Name = Field(_N.events_topic, description="topic of status, gaps and outcomes")
    dead_letters_topic: Name = Field(_N.dead_letters_topic, description="topic of dead letters")
    host_app_id: Name = Field(_N.host_app_id, description="app-id of the host")

    @field_validator("sink")
    @classmethod
    def _sink_is_known(cls, value: str) -> str:
        if value != "stdout" and not value.startswith(("http://", "https://")):
            raise ValueError("must be stdout, or a URL that starts with http:// or https://")
        return value

    @field_validator("sink_overrides")
    @classmethod
    def _overrides_can_be_read(cls, value: str | None) -> str | None:
        read_overrides(value or "")
        return value

    @model_validator(mode="after")
    def _timers_and_mode_fit(self) -> Self:
        if self.profile is Profile.EMBEDDED and self.mode is not Mode.ALL:
            raise ValueError(f"the mode {self.mode} needs the profile dapr: the embedded one is a single process")
        heartbeat_interval_s = self.limits().heartbeat_interval_s
        if self.lease_s < 3 * heartbeat_interval_s:  # others look once in a heartbeat, and half a lease is a pause
            beat = f"--heartbeat-interval-s ({heartbeat_interval_s:g})"
            raise ValueError(f"--lease-s ({self.lease_s:g}) must be at least three times {beat}")
        return self

    def sink_extensions(self) -> dict[str, str]:
        """What each posted CloudEvent gets besides its own attributes."""
        return read_overrides(self.sink_overrides or "")

    def app_token(self) -> str | None:
        """The app's token in clear."""
        return self.app_api_token.get_secret_value() if self.app_api_token else None

    def sidecar_address(self) -> str:
        """Where the sidecar's gRPC API is."""
        return f"127.0.0.1:{self.dapr_grpc_port}"

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
        sweep_s, heartbeat_s = (600.0, 5.0) if self.profile is Profile.DAPR else (10.0, 0.1)
        return Limits(
            max_connections=self.max_connections,
            max_handshakes=self.max_handshakes,
            max_skew_s=self.max_skew_s,
            sweep_interval_s=self.sweep_interval_s or sweep_s,
            heartbeat_interval_s=self.heartbeat_interval_s or heartbeat_s,
            lease_s=self.lease_s,
            tombstone_ttl_s=self.tombstone_ttl_s,
            drain_deadline_s=self.drain_deadline_s,
            handover_s=self.handover_s,
            is_strict=self.fencing == "strict",
            rebalances=self.rebalance,
            loop_stall_limit_s=self.loop_stall_limit_s,
            sweep_rate=self.sweep_rate,
            index_shards=self.index_shards,
            vitals_interval_s=self.vitals_interval_s,
            events_max=self.events_max,
            queues_max_bytes=self.queues_max_bytes,
            dials=self.dial_limits(),
            options=self.option_limits(),
            max_connections_per_tag=self.max_connections_per_tag,
            counted_tags=self.tag_keys(),
            names=self.names(),
        )


def unknown_variables(names: Iterable[str]) -> list[tuple[str, str | None]]:
    """Variables with our prefix that no setting reads, each with the setting that may have been meant."""
    known = [variable for name in Settings.model_fields for variable in Settings.variables(name)] + [_OF_TAIL]
    unknown = sorted(name for name in names if name.upper().startswith(PREFIX) and name.upper() not in known)
    return [(name, next(iter(get_close_matches(name.upper(), known, 1, 0.8)), None)) for name in unknown]
