"""The command without pauses. It logs each of them to stderr instead, as `SLEPT seconds`."""

from __future__ import annotations

import sys
import time
from typing import SupportsIndex


def _log_pause(seconds: SupportsIndex | float) -> None:
    sys.stderr.write(f"SLEPT {seconds}\n")  # In one piece: threads pause at the same time. `Run.slept` reads it.


if __name__ == "__main__":
    time.sleep = _log_pause
    from tap_wootric.__main__ import main  # After the patch, because `time.sleep` is a default argument.

    main()
