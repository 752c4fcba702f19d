"""Runs the command in forks of this process, which has imported the tap already: that takes longer than most syncs.

Each line of the input is a `Command` as JSON. When its process has ended, its exit status is a line of the output.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from itertools import count
from typing import Any, TypedDict

_TIMEOUT_SECONDS = 120

_time: dict[str, Callable[..., Any]] = {name: getattr(time, name) for name in ("monotonic", "sleep", "time")}
"""The functions behind those of the module `time`, for a fork to replace: the tap binds some as default arguments."""


class Command(TypedDict):
    """A run of the command.

    Attributes:
        package: The package whose `main` runs.
        arguments: The arguments of the command line.
        env: The environment variables.
        cwd: The working directory.
        out: The file that gets the output.
        log: The file that gets the errors.
        sleepless: Whether pauses are logged instead of taken.
        now: The time at the start, in Unix seconds, or null for that of the machine.
        tick: Seconds by which the monotonic clock advances whenever it is read, or 0 for that of the machine.
    """

    package: str
    arguments: list[str]
    env: Mapping[str, str]
    cwd: str
    out: str
    log: str
    sleepless: bool
    now: float | None
    tick: float


def main() -> None:
    """Serve until the input ends. Forks return earlier, so that Python ends them like any process."""
    for name in _time:
        setattr(time, name, _indirect(name))
    for package in ("tap_wootric", "tap_wootric.doctor"):  # After that, because of the default arguments.
        importlib.import_module(f"{package}.__main__")
    gc.freeze()  # A collection in a fork would copy the memory that it shares with this process.
    for line in sys.stdin:
        if not (process := os.fork()):
            _run(json.loads(line))
            return
        _, status = os.waitpid(process, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


def _indirect(name: str) -> Callable[..., Any]:
    def call(*arguments: Any) -> Any:
        return _time[name](*arguments)

    return call


def _run(command: Command) -> None:
    signal.alarm(_TIMEOUT_SECONDS)
    for descriptor, path in enumerate((os.devnull, command["out"], command["log"])):
        opened = os.open(path, os.O_RDWR)
        os.dup2(opened, descriptor)
        os.close(opened)
    os.chdir(command["cwd"])
    os.environ.clear()
    os.environ.update(command["env"])
    _replace_time(command)
    sys.argv[:] = [command["package"].replace("_", "-"), *command["arguments"]]
    importlib.import_module(f"{command['package']}.__main__").main()


def _replace_time(command: Command) -> None:
    if command["sleepless"]:
        # In one piece: threads pause at the same time. `Run.slept` reads it.
        _time["sleep"] = lambda seconds: sys.stderr.write(f"SLEPT {seconds}\n")
    if command["now"] is not None:
        machine, ahead = _time["time"], command["now"] - _time["time"]()
        _time["time"] = lambda: machine() + ahead
    if command["tick"]:
        ticks = count()
        _time["monotonic"] = lambda: next(ticks) * command["tick"]
