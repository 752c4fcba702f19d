from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests import postgres
from tests.sandbox import Sandbox
from tests.tap import DEFAULTS

_LATENCY = 0.05
"""Seconds for each response, enough to make reading in parallel worthwhile."""


@pytest.fixture(scope="session")
def _postgres_server() -> Iterator[str]:
    try:
        with postgres.server() as url:
            yield url
    except postgres.MissingServerError as error:
        if os.environ.get("CI"):
            pytest.fail(f"There is no PostgreSQL: {error}")
        pytest.skip(f"There is no PostgreSQL: {error}")


@pytest.fixture(params=[1, 8], ids=["one at a time", "eight at a time"])
def concurrency(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Sets how many partitions each run of the tap reads in parallel."""
    at_once: int = request.param
    monkeypatch.setitem(DEFAULTS, "concurrency", at_once)
    monkeypatch.setattr(Sandbox, "latency", 0 if at_once == 1 else _LATENCY)
    return at_once


@pytest.fixture
def database(_postgres_server: str) -> Iterator[postgres.Database]:
    """An empty database."""
    with postgres.database(_postgres_server) as empty:
        yield empty
