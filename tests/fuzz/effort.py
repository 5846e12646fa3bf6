"""How much each target is fuzzed.

HYPOTHESIS_PROFILE=long chooses the long run, FUZZ_MINUTES for how long all targets together look (15, about).
"""

from __future__ import annotations

import os

from hypothesis import settings

PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "ci")
MINUTES = float(os.environ.get("FUZZ_MINUTES", "15"))
CI_S = 30.0  # what all of them take under `ci`, about


def effort(examples: int) -> settings:
    """So many inputs under `ci`, and as many times more under `long` as that is longer."""
    times = MINUTES * 60 / CI_S if PROFILE == "long" else 1.0
    return settings(settings.get_profile(PROFILE), max_examples=max(1, round(examples * times)))
