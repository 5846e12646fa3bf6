"""The model check finds mistakes: each of these, planted in a production function, breaks a promise in some history."""

from __future__ import annotations

import pytest

from tests.model.explorer import first_broken
from tests.model.faults import FAULTS, Plant

WITHIN = 6_000  # histories; most are found in the first hundred


@pytest.mark.parametrize(("plant", "promise"), FAULTS, ids=[plant.__name__ for plant, _ in FAULTS])
def test_a_planted_fault_is_found(plant: Plant, promise: str, monkeypatch: pytest.MonkeyPatch):
    plant(monkeypatch)
    broken = first_broken(range(WITHIN))
    assert broken is not None, f"{WITHIN} histories kept every promise"
    assert any(promise in fault for fault in broken.faults), str(broken)
