from __future__ import annotations

import gc
import os
from tempfile import TemporaryDirectory

import pytest

from tests import shared


def pytest_configure(config: pytest.Config) -> None:
    """Give the processes of pytest a folder to share, which the first one makes and removes."""
    if shared.VARIABLE not in os.environ:
        folder = TemporaryDirectory(prefix="tests-")
        os.environ[shared.VARIABLE] = folder.name
        config.add_cleanup(folder.cleanup)


def pytest_collection_finish() -> None:
    gc.freeze()  # Each garbage collection would visit all imported modules: a tenth of the unit tests' time.
