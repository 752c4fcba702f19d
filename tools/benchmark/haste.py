"""Runs a program with a fast clock, so that a limit per minute takes seconds: `haste.py FACTOR FILE|-m MODULE …`."""

from __future__ import annotations

import runpy
import sys
import time


def speed_up(factor: float) -> None:
    """Make the clocks of `time` run faster from now on."""
    sleep, monotonic, now = time.sleep, time.monotonic, time.time
    start_monotonic, start = monotonic(), now()
    time.sleep = lambda seconds: sleep(float(seconds) / factor)
    time.monotonic = lambda: start_monotonic + (monotonic() - start_monotonic) * factor
    time.time = lambda: start + (now() - start) * factor


if __name__ == "__main__":
    speed_up(float(sys.argv[1]))
    program = sys.argv[2]
    del sys.argv[:2]
    if program == "-m":
        del sys.argv[0]
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(program, run_name="__main__")
