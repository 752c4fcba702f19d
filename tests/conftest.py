from __future__ import annotations

import gc
import os
from tempfile import TemporaryDirectory

import pytest

from tests import shared


def pytest_configure(config: pytest.Config) -> None:
    """Give the processes of pytest a folder for what they share. The first process makes and removes it."""
    if shared.VARIABLE not in os.environ:
        folder = TemporaryDirectory(prefix="tests-")
        os.environ[shared.VARIABLE] = folder.name
        config.add_cleanup(folder.cleanup)


def pytest_collection_finish() -> None:
    gc.freeze()  # Each collection would look through all that is imported: a tenth of the time of the unit tests.
