"""Imports a program and runs it in forks; see `tests.preloaded`. It runs in the program's own environment."""

from __future__ import annotations

import gc
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.metadata import entry_points
from itertools import count
from pathlib import Path
from typing import Any

_TIMEOUT_SECONDS = 120

_time: dict[str, Callable[..., Any]] = {name: getattr(time, name) for name in ("monotonic", "sleep", "time")}
"""The functions behind those of the module `time`, for a fork to replace: the tap binds some as default arguments."""


def _serve(path: str, name: str) -> None:
    """Return once the socket accepts connections: a process in the background serves it until it is removed."""
    for function in _time:
        setattr(time, function, _indirect(function))
    (entry,) = entry_points(group="console_scripts", name=name)
    main = entry.load()  # After that, because of the default arguments.
    gc.freeze()  # A collection in a fork would copy the memory that it shares with this process.
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        listener.settimeout(1)
        client = None if os.fork() else _next_client(listener, path)
    if client:
        # Without the interpreter's clean-up, which takes longer than most runs.
        os._exit(_run(client, main))


def _next_client(listener: socket.socket, path: str) -> socket.socket | None:
    """Fork for each client, and return it in the fork; return None in the server once the socket is removed."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # Nobody waits for the forks.
    while Path(path).exists():
        with suppress(TimeoutError):
            client, _ = listener.accept()
            if not os.fork():
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                return client
            client.close()
    return None


def _run(client: socket.socket, main: Callable[[], object]) -> int:
    """Run the program in another fork, and return its exit status there. This process sends it to the client."""
    _, streams, *_ = socket.recv_fds(client, 1, 3)
    call = json.loads(client.makefile().read())
    if process := os.fork():
        _, status = os.waitpid(process, 0)
        client.sendall(b"%d" % os.waitstatus_to_exitcode(status))
        signal.raise_signal(signal.SIGKILL)  # Coverage would save data at any other end.
    client.close()
    signal.alarm(_TIMEOUT_SECONDS)
    for descriptor, stream in enumerate(streams):
        os.dup2(stream, descriptor)
        os.close(stream)
    os.chdir(call["folder"])
    os.environ.clear()
    os.environ.update(call["env"])
    if times := call["times"]:
        _replace_time(times)
    sys.argv[:] = call["arguments"]
    try:
        result: Any = main()
    except SystemExit as error:
        if isinstance(error.code, str):
            raise
        result = error.code
    sys.stdout.flush()
    sys.stderr.flush()
    return int(result or 0)


def _indirect(name: str) -> Callable[..., Any]:
    def call(*arguments: Any) -> Any:
        return _time[name](*arguments)

    return call


def _replace_time(times: Mapping[str, Any]) -> None:
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
