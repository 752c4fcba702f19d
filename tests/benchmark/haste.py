"""Has a program's clock run fast, so that a minute's limit takes seconds: `python haste.py TIMES FILE|-m MODULE …`."""

from __future__ import annotations

import runpy
import sys
import time


def hurry(times: float) -> None:
    """Have `time` go some times faster from now on."""
    sleep, monotonic, now = time.sleep, time.monotonic, time.time
    begun, began = monotonic(), now()
    time.sleep = lambda seconds: sleep(float(seconds) / times)
    time.monotonic = lambda: begun + (monotonic() - begun) * times
    time.time = lambda: began + (now() - began) * times


if __name__ == "__main__":
    hurry(float(sys.argv[1]))
    program = sys.argv[2]
    del sys.argv[:2]
    if program == "-m":
        del sys.argv[0]
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(program, run_name="__main__")
