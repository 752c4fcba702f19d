from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest

from tests import postgres
from tests.programs import Project, preload_plugin
from tests.shared import once, shared_folder
from tools import ROOT
from tools.docs import repository, version

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this folder, so that `-m "not e2e"` skips them, and let the longest be the first."""
    for item in items:
        if item.path.is_relative_to(_HERE):
            item.add_marker(pytest.mark.e2e)
    items.sort(key=lambda item: item.get_closest_marker("timeout") is None)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a PostgreSQL server; without one, tests are skipped, or fail in CI."""
    try:
        with postgres.server() as url:
            yield url
    except postgres.MissingServerError as error:
        if os.environ.get("CI"):
            pytest.fail(f"PostgreSQL is missing: {error}")
        pytest.skip(f"PostgreSQL is missing: {error}")


@pytest.fixture
def database(postgres_server: str) -> Iterator[postgres.Database]:
    """An empty database."""
    with postgres.database(postgres_server) as empty:
        yield empty


@pytest.fixture(scope="session")
def plugins() -> Path:
    """Install Meltano's plugins, and return the folder of Meltano's own files."""

    def install() -> str:
        project = Project(Path(mkdtemp(dir=shared_folder())))
        done = project.meltano("install", env={})
        assert done.returncode == 0, done.stderr
        folder = project.folder / ".meltano"
        for kind, name in (("extractors", "tap-wootric"), ("loaders", "target-postgres")):
            preload_plugin(folder, kind, name)
        return str(folder)

    return Path(once("plugins", install))


@pytest.fixture
def project(plugins: Path, tmp_path: Path) -> Project:
    """A project in which the plugins of meltano.yml are installed."""
    return Project(tmp_path, plugins)


@pytest.fixture
def published(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Stand in for GitHub: an environment in which git finds a release of this repository at its URL."""
    folder = tmp_path_factory.mktemp("github") / "repository"
    for command in (
        ["clone", "--quiet", "--bare", str(ROOT), str(folder)],
        ["-C", str(folder), "tag", f"v{version()}"],
    ):
        subprocess.run(["git", *command], check=True)  # noqa: S607 - As a shell finds it.
    env = {"GIT_CONFIG_COUNT": "2"}
    for number, url in enumerate((f"{repository()}.git", repository())):
        env |= {f"GIT_CONFIG_KEY_{number}": f"url.file://{folder}.insteadOf", f"GIT_CONFIG_VALUE_{number}": url}
    return env
