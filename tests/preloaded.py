"""Runs programs in forks of a process that has imported them already: that takes longer than most of their runs.

A program gets its arguments, environment, folder and standard streams from its caller. Signals do not reach it.
"""

from __future__ import annotations

import atexit
import gc
import inspect
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.metadata import entry_points
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypedDict

_TIMEOUT_SECONDS = 120
_TIMES = "PRELOADED_TIMES"
"""The environment variable that holds `Times` as JSON."""

_time: dict[str, Callable[..., Any]] = {name: getattr(time, name) for name in ("monotonic", "sleep", "time")}
"""The functions behind those of the module `time`, for a fork to replace: the tap binds some as default arguments."""


class Times(TypedDict):
    """How a program sees the time.

    Attributes:
        sleepless: Whether pauses are logged instead of taken.
        now: The time at the start, in Unix seconds, or null for that of the machine.
        tick: Seconds by which the monotonic clock advances whenever it is read, or 0 for that of the machine.
    """

    sleepless: bool
    now: float | None
    tick: float


def run_preloaded(
    program: Path, arguments: Sequence[str], streams: Sequence[int], env: Mapping[str, str], times: Times
) -> int:
    """Run a program in this process's folder, with streams given by their descriptors, and return its exit status."""
    env = {**env, _TIMES: json.dumps(times)}
    return _call(str(_server(program.parent, program.name)), [str(program), *arguments], env, [*streams])


def preloaded(program: Path) -> Path:
    """Return a script that does what a program does, until this process ends."""
    path = _server(program.parent, program.name)
    script, code = path.with_name(program.name), path.with_name("call.py")
    call = f"sys.exit(_call({str(path)!r}, [{str(program)!r}, *sys.argv[1:]], dict(os.environ), [0, 1, 2]))"
    code.write_text(f"import json, os, socket, sys\n{inspect.getsource(_call)}\n{call}\n")
    script.write_text(f'#!/bin/sh\nexec {shlex.join([sys.executable, "-IS", str(code)])} "$@"\n')
    script.chmod(0o755)
    return script


def _call(path: str, arguments: list[str], env: dict[str, str], streams: list[int]) -> int:
    # Its source is also that of a script, which imports little.
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(path)
        socket.send_fds(server, [b" "], streams)
        server.sendall(json.dumps([arguments, env, os.getcwd()]).encode())  # noqa: PTH109
        server.shutdown(socket.SHUT_WR)
        return int(server.recv(9) or 1)


@cache
def _server(folder: Path, name: str) -> Path:
    """Import a program, and return the path of the socket at which it can be run."""
    temporary = TemporaryDirectory(prefix="preloaded-")
    path = Path(temporary.name) / "socket"
    server = subprocess.Popen(
        [folder / "python", "-P", __file__, path, name], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    )
    atexit.register(server.kill)
    atexit.register(temporary.cleanup)
    assert server.stdout
    assert server.stdout.readline() == b"ready\n"
    return path


def _serve(path: str, name: str) -> None:
    for function in _time:
        setattr(time, function, _indirect(function))
    (entry,) = entry_points(group="console_scripts", name=name)
    main = entry.load()  # After that, because of the default arguments.
    gc.freeze()  # A collection in a fork would copy the memory that it shares with this process.
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        os.write(1, b"ready\n")
        while True:
            client, _ = listener.accept()
            with client:
                _, streams, *_ = socket.recv_fds(client, 1, 3)
                arguments, env, folder = json.loads(client.makefile().read())
                if not (process := os.fork()):
                    break
                _, status = os.waitpid(process, 0)
                client.sendall(b"%d" % os.waitstatus_to_exitcode(status))
            for stream in streams:
                os.close(stream)
    signal.alarm(_TIMEOUT_SECONDS)
    for descriptor, stream in enumerate(streams):
        os.dup2(stream, descriptor)
        os.close(stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(env)
    if times := os.environ.pop(_TIMES, None):
        _replace_time(json.loads(times))
    sys.argv[:] = arguments
    sys.exit(main())


def _indirect(name: str) -> Callable[..., Any]:
    def call(*arguments: Any) -> Any:
        return _time[name](*arguments)

    return call


def _replace_time(times: Times) -> None:
    if times["sleepless"]:
        # In one piece: threads pause at the same time. `Run.slept` reads it.
        _time["sleep"] = lambda seconds: sys.stderr.write(f"SLEPT {seconds}\n")
    if times["now"] is not None:
        machine, ahead = _time["time"], times["now"] - _time["time"]()
        _time["time"] = lambda: machine() + ahead
    if times["tick"]:
        ticks = count()
        _time["monotonic"] = lambda: next(ticks) * times["tick"]


if __name__ == "__main__":
    _serve(*sys.argv[1:])
