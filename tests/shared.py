"""What takes long to make is made once for all processes of pytest."""

from __future__ import annotations

import fcntl
import os
import zlib
from collections.abc import Callable
from pathlib import Path

VARIABLE = "TESTS_SHARED"
"""Names the folder in which the processes find what they share. It lasts as long as the tests."""


def shared_folder() -> Path:
    """Return the folder in which the processes find what they share."""
    return Path(os.environ[VARIABLE])


def shared(name: str, make: Callable[[], str]) -> str:
    """Return what `make` returned to the first process that asked for the name; the others wait for it."""
    with (shared_folder() / str(zlib.crc32(name.encode()))).open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        if not (made := file.read()):
            made = make()
            file.write(made)
    return made
