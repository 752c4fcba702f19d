from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import postgres

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this folder, so that `-m "not e2e"` skips them."""
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def _postgres_server() -> Iterator[str]:
    try:
        with postgres.server() as url:
            yield url
    except postgres.MissingServerError as error:
        if os.environ.get("CI"):
            pytest.fail(f"PostgreSQL is missing: {error}")
        pytest.skip(f"PostgreSQL is missing: {error}")


@pytest.fixture
def database(_postgres_server: str) -> Iterator[postgres.Database]:
    """An empty database."""
    with postgres.database(_postgres_server) as empty:
        yield empty
