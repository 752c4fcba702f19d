"""Through the command: partitions that are read at a time lose nothing, whatever the API does meanwhile."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sandbox import Account, Sandbox
from tests.sandbox.account import NOW
from tests.sandbox.server import Clock
from tests.tap import seen, tap

SLOW = 0.1
"""Seconds for each answer."""


def run(sandbox: Sandbox, concurrency: int = 8, **settings: Any) -> Any:
    return tap(config={**sandbox.config, "concurrency": concurrency, **settings})


@pytest.mark.parametrize(("concurrency", "rows"), [(1, 2_000), (4, 4_000), (8, 12_000)])
def test_so_many_pages_are_asked_for_at_a_time_as_the_setting_says(
    concurrency: int, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Sandbox, "latency", SLOW)
    with Sandbox(Account(rows), Clock(NOW)) as sandbox:
        done = run(sandbox, concurrency)
    assert done.status == 0, done.log
    assert sandbox.at_once == concurrency
    assert seen(done.records("end_users")) == sandbox.account.end_users.as_it_stands()
    stamps = [record["updated_at"] for record in done.records("end_users")]
    assert stamps == sorted(stamps)
    assert sum(request.path == "/oauth/token" for request in sandbox.requests) == 1


def test_a_token_that_dies_is_renewed_once_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Sandbox, "latency", SLOW)
    with Sandbox(Account(3_000), Clock(NOW)) as sandbox:

        def revoke(_path: str, _number: int) -> str:
            if len(sandbox.requests) == 30:
                sandbox.api.tokens.clear()
            return ""

        sandbox.fault = revoke
        done = run(sandbox)
    assert done.status == 0, done.log
    assert len(done.records("end_users")) == 3_000
    assert sum(request.path == "/oauth/token" for request in sandbox.requests) == 2


@pytest.mark.parametrize("shown_at", [8, 40])
def test_a_limit_that_shows_up_in_the_middle_ends_the_windows_and_loses_nothing(
    shown_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Sandbox, "latency", SLOW)
    with Sandbox(Account(4_000), Clock()) as sandbox:

        def limit(path: str, number: int) -> str:
            if path == "/v1/end_users" and number == shown_at:
                sandbox.switches.limit, sandbox.switches.limit_seconds = 30, 2
            return ""

        sandbox.fault = limit
        done = run(sandbox)
        late = sandbox.pages("end_users")[shown_at + 8 :]
    assert done.status == 0, done.log
    assert seen(done.records("end_users")) == sandbox.account.end_users.as_it_stands()
    assert len(done.records("end_users")) == 4_000
    assert len(sandbox.pages("end_users")) <= 1.08 * 4_000 / 50 + 10 + 8
    assert [request.status for request in late].count(429) == 0
    assert {request.query.get("page", "1") for request in late} == {"1"}  # No further window was cut.
