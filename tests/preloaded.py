"""Runs programs in forks of a process that has imported them already: importing takes longer than most runs.

A program gets its arguments, environment, folder and standard streams from its caller. Signals do not reach it.
"""

from __future__ import annotations

import inspect
import json
import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import TypedDict

from tests.shared import once, shared_folder

_SERVER = Path(__file__).with_name("fork_server.py")


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
    call: dict[str, object] = {"arguments": [str(program), *arguments], "env": dict(env), "times": times}
    return _call(str(preloaded(program).with_name("socket")), [*streams], call)


@cache
def preloaded(program: Path) -> Path:
    """Return a script that does what a program does, until the tests end."""
    return Path(once(f"preloaded {program}", lambda: _start(program)))


def _start(program: Path) -> str:
    folder = Path(mkdtemp(dir=shared_folder()))
    path, code, script = folder / "socket", folder / "call.py", folder / program.name
    call = f'{{"arguments": [{str(program)!r}, *sys.argv[1:]], "env": dict(os.environ), "times": None}}'
    lines = [
        "import json, os, socket, sys",
        inspect.getsource(_call),
        f"sys.exit(_call({str(path)!r}, [0, 1, 2], {call}))",
    ]
    code.write_text("\n".join(lines))
    script.write_text(f'#!/bin/sh\nexec {shlex.join([sys.executable, "-IS", str(code)])} "$@"\n')
    script.chmod(0o755)
    command: list[str | Path] = [program.with_name("python"), "-P", _SERVER, path, program.name]
    # With a pipe, Python makes a sys.stdout that never seeks: that of a fork may be a pipe.
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True) as server:
        assert server.wait() == 0
    return str(script)


def _call(path: str, streams: list[int], call: dict[str, object]) -> int:
    # Scripts contain this source: it needs few imports.
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(path)
        socket.send_fds(server, [b" "], streams)
        server.sendall(json.dumps({**call, "folder": os.getcwd()}).encode())  # noqa: PTH109
        server.shutdown(socket.SHUT_WR)
        return int(server.recv(9) or 1)
