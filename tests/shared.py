"""Makes slow things once for all processes of pytest."""

from __future__ import annotations

import fcntl
import os
import zlib
from collections.abc import Callable
from pathlib import Path

VARIABLE = "TESTS_SHARED"
"""Names the folder that the processes of pytest share. It is removed after the tests."""


def shared_folder() -> Path:
    """Return the folder that the processes of pytest share."""
    return Path(os.environ[VARIABLE])


def once(name: str, make: Callable[[], str]) -> str:
    """Return what `make` returned in the first process that asked for this name.

    The others wait for it. If it fails, they try themselves.
    """
    with (shared_folder() / str(zlib.crc32(name.encode()))).open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        if not (made := file.read()):
            made = make()
            file.write(made)
    return made
