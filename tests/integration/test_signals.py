"""After a signal or a dead target, the last state covers the emitted records, and the next sync continues from it."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.tap import Run, seen, tap
from tools import environment
from tools.sandbox import Account, Sandbox
from tools.sandbox.account import NOW
from tools.sandbox.server import Clock


def command(sandbox: Sandbox, folder: Path, **settings: Any) -> list[str]:
    """Write the settings into a file, and return the command line of a sync."""
    file = folder / "config.json"
    file.write_text(json.dumps({**sandbox.config, **settings}))
    return [sys.executable, "-m", "tap_wootric", "--config", str(file)]


@contextmanager
def tap_with_full_pipe(folder: Path, log: int, seconds: float) -> Iterator[subprocess.Popen[bytes]]:
    """Start a tap whose stdout nobody reads, and wait some seconds after its first requests, until the pipe is full."""
    with Sandbox(Account(3_000), Clock(NOW)) as sandbox:
        line = command(sandbox, folder)
        with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=log, env=environment()) as process:
            while len(sandbox.requests) < 3 and process.poll() is None:
                time.sleep(0.001)
            time.sleep(seconds)
            yield process


def run_with_signal(sandbox: Sandbox, state: Any, signum: int, at_request: int, folder: Path) -> Run:
    """Run the tap, and send it a signal when it has made some requests. Its output goes to a file."""
    (folder / "state.json").write_text(json.dumps(state or {}))
    line = [*command(sandbox, folder, request_timeout=5), "--state", str(folder / "state.json")]
    while sandbox.requests_in_progress:  # By a tap that was killed.
        time.sleep(0.001)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # The tests may run under nohup.
    before = len(sandbox.requests)
    out, log = folder / "out", folder / "log"
    with out.open("w") as stdout, log.open("w") as stderr:
        process = subprocess.Popen(line, stdout=stdout, stderr=stderr, env=environment())
        while len(sandbox.requests) - before < at_request and process.poll() is None:
            time.sleep(0.001)
        process.send_signal(signum)
        status = process.wait(90)
    complete_lines = out.read_text().rpartition("\n")[0]  # A killed tap may leave an incomplete one.
    return Run(status, complete_lines, log.read_text())


STATUSES = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGHUP: 129, signal.SIGKILL: -9}


@pytest.mark.parametrize("stream", ["end_users", "responses"])
def test_signals_at_random_points_lose_nothing_and_cost_few_requests(stream: str, tmp_path: Path) -> None:
    account = Account(**{stream: 2_500})
    table = account.tables[stream]
    rng = random.Random(stream)
    records: list[dict[str, Any]] = []
    state: Any = None
    with Sandbox(account, Clock(NOW)) as sandbox:
        for signum, status in [*STATUSES.items(), (signal.SIGTERM, 143)]:
            run = run_with_signal(sandbox, state, signum, rng.randrange(2, 14), tmp_path)
            assert run.status == status, run.log
            assert "Traceback" not in run.log
            if signum != signal.SIGKILL:
                assert run.errors == [f"Stopped by {signum.name}; the next sync continues from the last state"]
                assert not run.of_type("RECORD") or run.messages[-1]["type"] == "STATE"
            records += run.records(stream)
            state = run.state if run.of_type("STATE") else state
        last = tap(config=sandbox.config, state=state)
        assert last.status == 0
        asked = len(sandbox.pages(stream))
    assert seen(records + last.records(stream)) == table.versions()
    assert asked <= 1.3 * (2_500 / 49 + 1)


def test_a_signal_during_a_blocked_write_leaves_complete_messages(tmp_path: Path) -> None:
    with tap_with_full_pipe(tmp_path, subprocess.PIPE, 0.3) as process:  # It is blocked in a write.
        process.send_signal(signal.SIGTERM)
        out, log = process.communicate(timeout=30)
    assert process.returncode == 143, log
    messages = [json.loads(line) for line in out.splitlines()]
    assert messages[-1]["type"] == "STATE"
    assert b"Traceback" not in log


def test_a_second_signal_kills_a_tap_that_cannot_write_its_state(tmp_path: Path) -> None:
    with tap_with_full_pipe(tmp_path, subprocess.DEVNULL, 1) as process:
        for _ in range(2):  # Without a pause, as when a shell forwards the signal.
            process.send_signal(signal.SIGTERM)
        time.sleep(1.2)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == -signal.SIGTERM  # Shells report it as 143.


def test_a_non_blocking_pipe_gets_every_message(tmp_path: Path) -> None:
    account = Account(1_000)
    with Sandbox(account, Clock(NOW)) as sandbox:
        line = command(sandbox, tmp_path)
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        with subprocess.Popen(line, stdout=writer, stderr=subprocess.DEVNULL, env=environment()) as process:
            os.close(writer)
            time.sleep(1)  # The pipe is full by now.
            with open(reader) as out:  # noqa: PTH123 - A file descriptor.
                messages = [json.loads(line) for line in out]
    assert process.returncode == 0
    assert len([message for message in messages if message["type"] == "RECORD"]) == 1_000


def test_a_dead_target_ends_the_tap_with_one_line(tmp_path: Path) -> None:
    with Sandbox(Account(3_000), Clock(NOW)) as sandbox:
        line = command(sandbox, tmp_path)
        with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()) as process:
            assert process.stdout
            assert process.stderr
            process.stdout.readline()
            process.stdout.close()
            log = process.stderr.read().decode()
            status = process.wait(30)
    assert status == 1
    assert Run(status, "", log).errors == [
        "The target stopped reading; the next sync continues from the last state that was confirmed"
    ]
    assert "Traceback" not in log
    assert "Exception ignored" not in log


@pytest.mark.parametrize("option", ["--about", "--discover"])
def test_output_that_cannot_be_written_is_an_error_of_one_line(option: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    full = os.open("/dev/full", os.O_WRONLY)
    line = [sys.executable, "-m", "tap_wootric", option]
    for stdout, error in (
        (writer, "The output is no longer being read"),
        (full, "Cannot continue: No space left on device"),
    ):
        process = subprocess.run(line, stdout=stdout, stderr=subprocess.PIPE, env=environment(), text=True, check=False)
        os.close(stdout)
        assert (process.returncode, Run(1, "", process.stderr).errors) == (1, [error])
        assert "Traceback" not in process.stderr
