"""The repository's tools: a stand-in for the API, writers of docs and plugin files, and the benchmark.

`python -m tools sandbox`, `docs`, `plugin` and `benchmark` run them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent


def environment() -> dict[str, str]:
    """Return the environment without the tap's settings, and without those that `make` passes on to itself.

    Bytecode is written: without it, the SDK imports slowly.
    """
    dropped = ("ARGS", "TAP_WOOTRIC_", "PYTHONDONTWRITEBYTECODE", "MAKEFLAGS", "MAKELEVEL", "MFLAGS")
    return {name: value for name, value in os.environ.items() if not name.startswith(dropped)}


def tap_json(*arguments: str) -> Any:
    """Run the tap, and return the JSON that it prints."""
    command = [sys.executable, "-m", "tap_wootric", *arguments]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment()).stdout)
