"""The command with a clock that advances 0.1 seconds whenever it is read, so that a few thousand rows take minutes."""

from __future__ import annotations

import itertools
import time

_ticks = itertools.count()


def _monotonic() -> float:
    return next(_ticks) / 10


if __name__ == "__main__":
    time.monotonic = _monotonic
    from tap_wootric.__main__ import main  # After the patch, because `time.monotonic` is a default argument.

    main()
