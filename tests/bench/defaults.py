"""The bounds of a process on a sidecar where nothing is set, whatever is set for this one."""

from __future__ import annotations

from runtime.settings import Profile, Settings

DEFAULTS = Settings.model_construct(profile=Profile.DAPR).limits()
