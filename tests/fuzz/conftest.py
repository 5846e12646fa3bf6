"""Two profiles of Hypothesis: `ci`, the same few inputs in every run, and `long`, other ones each time."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings

_BOTH: dict[str, Any] = {
    "deadline": None,  # machines that run tests are busy
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    "print_blob": True,
}

settings.register_profile("ci", derandomize=True, database=None, **_BOTH)
settings.register_profile("long", derandomize=False, **_BOTH)
