"""The command reads in parallel."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.tap import Run, seen, tap
from tools import environment
from tools.sandbox import Account, Sandbox
from tools.sandbox.account import NOW
from tools.sandbox.server import Clock

_LATENCY_SECONDS = 0.1
"""How long each response takes: long enough for partitions to pay off."""


def sync(sandbox: Sandbox, concurrency: int = 8, **settings: Any) -> Run:
    return tap(config={**sandbox.config, "concurrency": concurrency, **settings})


@pytest.mark.parametrize(("concurrency", "rows"), [(1, 2_000), (4, 4_000), (8, 12_000)])
def test_the_setting_concurrency_is_the_number_of_requests_in_parallel(
    concurrency: int, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Sandbox, "latency", _LATENCY_SECONDS)
    with Sandbox(Account(rows), Clock(NOW)) as sandbox:
        run = sync(sandbox, concurrency)
    assert run.status == 0, run.log
    assert sandbox.max_concurrency == concurrency
    assert seen(run.records("end_users")) == sandbox.account.end_users.versions()
    updates = [record["updated_at"] for record in run.records("end_users")]
    assert updates == sorted(updates)
    assert sum(request.path == "/oauth/token" for request in sandbox.requests) == 1


def test_a_revoked_token_is_renewed_once_for_all_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Sandbox, "latency", _LATENCY_SECONDS)
    with Sandbox(Account(3_000), Clock(NOW)) as sandbox:

        def revoke(_path: str, _number: int) -> str:
            if len(sandbox.requests) == 30:
                sandbox.api.tokens.clear()
            return ""

        sandbox.fault = revoke
        run = sync(sandbox)
    assert run.status == 0, run.log
    assert len(run.records("end_users")) == 3_000
    assert sum(request.path == "/oauth/token" for request in sandbox.requests) == 2


@pytest.mark.parametrize("announced_at", [8, 40])
def test_a_limit_announced_during_a_sync_ends_parallel_reading_and_loses_nothing(
    announced_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Sandbox, "latency", _LATENCY_SECONDS)
    with Sandbox(Account(4_000), Clock()) as sandbox:

        def limit(path: str, number: int) -> str:
            if path == "/v1/end_users" and number == announced_at:
                sandbox.switches.limit, sandbox.switches.limit_seconds = 30, 2
            return ""

        sandbox.fault = limit
        run = sync(sandbox)
        late = sandbox.pages("end_users")[announced_at + 8 :]
    assert run.status == 0, run.log
    assert seen(run.records("end_users")) == sandbox.account.end_users.versions()
    assert len(run.records("end_users")) == 4_000
    assert len(sandbox.pages("end_users")) <= 1.08 * 4_000 / 50 + 10 + 8
    assert [request.status for request in late].count(429) == 0
    assert {request.query.get("page", "1") for request in late} == {"1"}  # No further partition was cut.


def killed(sandbox: Sandbox, state: Any, signum: signal.Signals, rows: int, folder: Path) -> Run:
    """Run the tap until it has emitted so many rows, then send it a signal."""
    (folder / "config.json").write_text(json.dumps(sandbox.config))
    (folder / "state.json").write_text(json.dumps(state or {}))
    line = [sys.executable, "-m", "tap_wootric", "--config", str(folder / "config.json")]
    line += ["--state", str(folder / "state.json")]
    out, emitted = "", 0
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(line, stdout=subprocess.PIPE, stderr=log, env=environment(), encoding="utf-8") as process,
    ):
        assert process.stdout
        for message in process.stdout:
            out += message if message.endswith("\n") else ""  # A killed tap may leave half a line.
            emitted += '"type": "RECORD"' in message or '"type":"RECORD"' in message
            if emitted == rows:
                process.send_signal(signum)
    while sandbox.requests_in_progress:
        time.sleep(0.001)
    return Run(process.returncode, out, (folder / "log").read_text())


@pytest.mark.parametrize(("signum", "seed"), [(signal.SIGKILL, None), (signal.SIGTERM, 1)], ids=["evenly", "at random"])
def test_a_sync_of_a_hundred_pages_that_is_killed_eight_times_costs_half_as_much_again_at_most(
    signum: signal.Signals, seed: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Sandbox, "latency", _LATENCY_SECONDS / 2)
    account = Account(5_000)
    with Sandbox(account, Clock(NOW)) as sandbox:
        assert tap(config=sandbox.config).status == 0
        clean = len(sandbox.requests)
    evenly = [5_000 * number // 9 for number in range(1, 9)]
    kills = evenly if seed is None else sorted(random.Random(seed).sample(range(1, 5_000), 8))
    records: list[dict[str, Any]] = []
    state: Any = None
    with Sandbox(account, Clock(NOW)) as sandbox:
        for before, row in pairwise([0, *kills]):
            run = killed(sandbox, state, signum, row - before, tmp_path)
            records += run.records("end_users")
            state = run.state if run.of_type("STATE") else state
        records += tap(config=sandbox.config, state=state).records("end_users")
        asked = len(sandbox.requests)
    assert seen(records) == account.end_users.versions()
    assert asked <= 1.5 * clean
