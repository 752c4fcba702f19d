from __future__ import annotations

import pytest

from tests.tap import DEFAULTS
from tools.sandbox import Sandbox

_LATENCY_SECONDS = 0.05
"""How long each response takes: long enough for partitions to pay off."""


@pytest.fixture(params=[1, 8], ids=["sequential", "parallel"])
def concurrency(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Set how many partitions each run of the tap reads in parallel."""
    partitions: int = request.param
    monkeypatch.setitem(DEFAULTS, "concurrency", partitions)
    monkeypatch.setattr(Sandbox, "latency", 0 if partitions == 1 else _LATENCY_SECONDS)
    return partitions
