"""Who this process is among the hosts."""

from __future__ import annotations

import os
import re
import socket
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import version
from uuid import uuid4

from runtime.models.instance import Instance

# Where the platforms name a replica: Azure Container Apps, then Kubernetes by the downward API as Dapr wants it.
_PLATFORM_VARIABLES = ("CONTAINER_APP_REPLICA_NAME", "POD_NAME")
_NOT_ALLOWED = re.compile(r"[^A-Za-z0-9._:-]")
MAX_LENGTH = 128


@dataclass(frozen=True, slots=True)
class InstanceIdProvider:
    """The id of this instance, stable over restarts, and its incarnation, fresh at every start."""

    configured: str | None = None
    incarnation: str = field(default_factory=lambda: uuid4().hex)

    def get_instance_id(self) -> str:
        """`WSM_INSTANCE_ID`, else the platform's replica name, else the host name; fit for a key and a topic."""
        if self.configured:
            return self.configured
        named = next((os.environ[name] for name in _PLATFORM_VARIABLES if os.environ.get(name)), socket.gethostname())
        return _NOT_ALLOWED.sub("-", named)[:MAX_LENGTH] or "host"

    def instance(self, now: datetime) -> Instance:
        """This process as its lease shows it before the first beat."""
        return Instance(
            id=self.get_instance_id(),
            incarnation=self.incarnation,
            version=version("websocket-manager"),
            started_at=now,
            read_until=now,
        )
