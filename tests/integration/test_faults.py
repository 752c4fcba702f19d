"""Temporary faults are retried, permanent ones fail at once, and each is logged on one line."""

from __future__ import annotations

import re

import pytest

from tests.tap import Run, seen, tap
from tools.sandbox import Account, Sandbox
from tools.sandbox.account import NOW
from tools.sandbox.api import CLIENT_ID, CLIENT_SECRET, PASSWORD, USERNAME
from tools.sandbox.server import FAULTS, Clock

FAULT_NAMES = [name for name in FAULTS if name not in {"", "403", "404", "endless"}]
"""Temporary faults."""
DEBUG = {"TAP_WOOTRIC_LOGLEVEL": "DEBUG"}


def checked(run: Run) -> Run:
    """Check that a run logged no traceback, secret, token or customer's data, at whatever level."""
    assert "Traceback" not in run.log
    for secret in (
        CLIENT_ID,
        CLIENT_SECRET,
        PASSWORD,
        "sandbox-token",
        "refresh-token",
        "@example.com",
        "secret comment",
    ):
        assert secret not in run.log
    return run


def test_two_faults_in_a_row_lose_no_row() -> None:
    pairs: dict[tuple[str, int], str] = {}

    def fault(path: str, n: int) -> str:
        if path == "/oauth/token" or n % 4 not in {1, 2}:
            return ""
        return pairs.setdefault((path, n // 4), FAULT_NAMES[len(pairs) % len(FAULT_NAMES)])

    with Sandbox(Account(700, 700, declines=700), Clock(NOW)) as sandbox:
        sandbox.fault = fault
        run = checked(tap(config=sandbox.config, sleepless=True, env=DEBUG))
    assert {*pairs.values()} == {*FAULT_NAMES}
    assert run.status == 0, run.log
    for stream, table in sandbox.account.tables.items():
        assert seen(run.records(stream)) == table.versions()
        assert len(run.records(stream)) == len(table.rows)


@pytest.mark.parametrize("faults", [FAULT_NAMES[::2], FAULT_NAMES[1::2]])
def test_a_token_request_is_retried(faults: list[str]) -> None:
    with Sandbox(Account(1)) as sandbox:
        sandbox.fault = lambda path, n: faults[n - 1] if path == "/oauth/token" and n <= len(faults) else ""
        run = checked(tap(config=sandbox.config, sleepless=True, env=DEBUG))
    assert run.status == 0, run.log
    assert len(run.records("end_users")) == 1


def password_config(sandbox: Sandbox, **more: str) -> dict[str, str]:
    return {"api_url": sandbox.url, "username": USERNAME, "password": PASSWORD, **more}


def test_the_password_grant_sends_the_account_token_each_time() -> None:
    # The server's time advances by a tenth of a token's lifetime with each request.
    with Sandbox(Account(1_000), Clock(NOW, step=720)) as sandbox:
        run = checked(tap(config=password_config(sandbox, account_token="NPS-1a2b3c"), env=DEBUG))  # noqa: S106
    assert run.status == 0, run.log
    assert len(run.records("end_users")) == 1_000
    assert "NPS-1a2b3c" not in run.log
    tokens = [request for request in sandbox.requests if request.path == "/oauth/token"]
    assert len(tokens) > 2
    assert {str(request.query) for request in tokens} == {"{'account_token': 'NPS-1a2b3c'}"}
    assert {request.form["grant_type"] for request in tokens} == {"password"}


def test_a_rate_limit_is_never_exceeded_and_costs_little_extra_waiting() -> None:
    account = Account(2_000)
    with Sandbox(account, limit=20, limit_seconds=2) as sandbox:
        run = checked(tap(config=sandbox.config))
    assert seen(run.records("end_users")) == account.end_users.versions()
    assert not [request for request in sandbox.requests if request.status == 429]
    full_windows = len(sandbox.pages("end_users")) // 20
    # A busy machine makes the run longer, but not the waiting.
    waited = re.findall(r"end_users: done, .*, including (\d+) s of waiting for the rate limit", run.log)
    assert sum(map(int, waited)) <= full_windows * 2 * 3 / 2


def test_an_api_that_does_not_sort_is_refused() -> None:
    with Sandbox(Account(200, 1), Clock(NOW), ignores_sort=True) as sandbox:
        run = checked(tap(config=sandbox.config))
    assert run.status == 1
    [error] = run.errors
    assert error.startswith("end_users: rows that were requested sorted by updated_at came in another order")
    assert len(run.records("responses")) == 1


def test_a_stream_that_fails_for_good_in_the_middle_does_not_stop_the_others() -> None:
    account = Account(900, 900, declines=900)
    with Sandbox(account, Clock(NOW)) as sandbox:
        sandbox.fault = lambda path, n: "500" if path == "/v1/end_users" and n >= 8 else ""
        first = checked(tap(config=sandbox.config, sleepless=True))
        sandbox.fault = lambda *_: ""
        second = checked(tap(config=sandbox.config, state=first.state))
    assert first.status == 1
    [error] = first.errors
    assert error.startswith("end_users: 500 Internal Server Error for /v1/end_users: internal_error: Oops. Giving up ")
    assert first.log.splitlines()[-1].endswith(error)
    assert 120 < sum(first.slept) < 360
    for stream in ("declines", "responses"):
        assert seen(first.records(stream)) == account.tables[stream].versions()
    assert 250 <= len(first.records("end_users")) < 900
    assert second.status == 0
    assert seen(first.records("end_users") + second.records("end_users")) == account.end_users.versions()
    assert second.records("responses") == []


def test_a_host_that_goes_away_ends_the_sync_at_once_with_its_state() -> None:
    with Sandbox(Account(900, declines=900), Clock(NOW)) as sandbox:

        def vanish(path: str, number: int) -> str:
            if path != "/v1/declines" or number < 9:
                return ""
            sandbox.vanish()
            return "reset"

        sandbox.fault = vanish
        run = checked(tap(config=sandbox.config, sleepless=True))
    assert run.status == 1
    [error] = run.errors
    assert "/v1/declines could not be reached (Connection refused). Giving up after " in error
    assert len(run.records("declines")) == 8 * 49 + 1  # All that the eight pages had.
    assert run.bookmark("declines") == run.records("declines")[-1]["created_at"]
    assert not run.of_type("SCHEMA", "end_users")
    assert sum(run.slept) < 360


@pytest.mark.parametrize(
    ("fault", "content", "error"),
    [
        ("endless", "", "/v1/responses did not answer in time. Giving up after"),
        ("", " " * (2**24 + 1), "A response has more than 16 MB"),
        ("", '[{"id": 1, "tags": ' + "[" * 5_000 + "]" * 5_000 + "}]", "its JSON has more than 250 levels"),
    ],
    ids=["endless", "too large", "too deep"],
)
def test_a_hostile_response_ends_its_stream_with_one_line_and_no_other(fault: str, content: str, error: str) -> None:
    with Sandbox(Account(3, 1)) as sandbox:
        sandbox.fault = lambda path, _: fault if path == "/v1/responses" else ""
        sandbox.rewrite = lambda text: content if '"score"' in text and '"last_response"' not in text else text
        tick = 0.2 if fault else 0  # The clock is fast, so that a response that never ends takes no time.
        run = checked(tap(config={**sandbox.config, "request_timeout": 1}, sleepless=True, tick=tick))
    assert run.status == 1
    assert len(run.errors) == 1, run.log
    assert run.errors[0].startswith("responses: ")
    assert error in run.errors[0]
    assert len(run.records("end_users")) == 3
    assert sum(run.slept) < 360
