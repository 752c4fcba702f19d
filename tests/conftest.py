from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests import postgres


@pytest.fixture(scope="session")
def _postgres_server() -> Iterator[str]:
    try:
        with postgres.server() as url:
            yield url
    except postgres.MissingServerError as error:
        if os.environ.get("CI"):
            pytest.fail(f"There is no PostgreSQL: {error}")
        pytest.skip(f"There is no PostgreSQL: {error}")


@pytest.fixture
def database(_postgres_server: str) -> Iterator[postgres.Database]:
    """An empty database."""
    with postgres.database(_postgres_server) as one:
        yield one
