"""Temporary faults are retried, permanent ones fail at once, and each is logged on one line."""

from __future__ import annotations

import gzip
import json
import re
import threading
from contextlib import suppress
from http.client import parse_headers
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import Any

import pytest

from tests.tap import Run, seen, selecting, tap
from tools.sandbox import Account, Sandbox
from tools.sandbox.account import NOW
from tools.sandbox.api import CLIENT_ID, CLIENT_SECRET, PASSWORD, USERNAME
from tools.sandbox.server import FAULTS, Clock

FAULT_NAMES = [name for name in FAULTS if name not in {"", "403", "404"}]
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


@pytest.mark.parametrize("fault", ["reset", "502"])
def test_a_permanent_fault_fails_within_six_minutes_and_the_next_sync_continues(fault: str) -> None:
    with Sandbox(Account(700), Clock(NOW)) as sandbox:
        sandbox.fault = lambda path, n: fault if path == "/v1/end_users" and n >= 6 else ""
        first = checked(tap(config=sandbox.config, sleepless=True, env=DEBUG))
        assert first.status == 1
        assert 120 < sum(first.slept) < 360
        assert first.errors[-1].startswith("end_users: ")
        assert "Giving up after" in first.errors[-1]
        sandbox.fault = lambda *_: ""
        second = checked(tap(config=sandbox.config, state=first.state))
    records = [run.records("end_users") for run in (first, second)]
    assert seen([*records[0], *records[1]]) == sandbox.account.end_users.versions()
    assert [*map(len, records)] == [246, 455]  # Five pages; the rest, and again the row of the bookmark's second.


@pytest.mark.parametrize("faults", [FAULT_NAMES[::2], FAULT_NAMES[1::2]])
def test_a_token_request_is_retried(faults: list[str]) -> None:
    with Sandbox(Account(1)) as sandbox:
        sandbox.fault = lambda path, n: faults[n - 1] if path == "/oauth/token" and n <= len(faults) else ""
        run = checked(tap(config=sandbox.config, sleepless=True, env=DEBUG))
    assert run.status == 0, run.log
    assert len(run.records("end_users")) == 1


def password_config(sandbox: Sandbox, **more: str) -> dict[str, str]:
    return {"api_url": sandbox.url, "username": USERNAME, "password": PASSWORD, **more}


def test_the_password_grant_sends_the_account_token_and_renews_with_the_refresh_token() -> None:
    # The server's time advances by a tenth of a token's lifetime with each request.
    with Sandbox(Account(1_000), Clock(NOW, step=720)) as sandbox:
        run = checked(tap(config=password_config(sandbox, account_token="NPS-1a2b3c"), env=DEBUG))  # noqa: S106
    assert run.status == 0, run.log
    assert len(run.records("end_users")) == 1_000
    assert "NPS-1a2b3c" not in run.log
    tokens = [request for request in sandbox.requests if request.path == "/oauth/token"]
    assert len(tokens) > 2
    assert {str(request.query) for request in tokens} == {"{'account_token': 'NPS-1a2b3c'}"}
    assert [request.form["grant_type"] for request in tokens] == ["password"] + ["refresh_token"] * (len(tokens) - 1)


def test_a_wrong_path_in_api_url_fails_at_once_with_one_line() -> None:
    with Sandbox(Account(1)) as sandbox:
        run = checked(tap(config={**sandbox.config, "api_url": f"{sandbox.url}/v1"}))
    assert run.status == 1
    assert len(run.errors) == 1
    assert "check account_token and api_url" in run.errors[0]


def test_an_unreachable_server_is_named_at_each_attempt() -> None:
    config = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "api_url": "http://127.0.0.1:9"}
    run = checked(tap(config=config, sleepless=True, env=DEBUG))
    assert run.status == 1
    reason = "Access token: http://127.0.0.1:9/oauth/token could not be reached (Connection refused). "
    assert run.errors[-1].startswith(f"{reason}Giving up after ")
    assert run.log.count(f"{reason}Retrying") == 8


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


def test_a_rate_limit_used_up_by_others_is_waited_for() -> None:
    with Sandbox(Account(300)) as sandbox:
        sandbox.fault = lambda path, n: "429" if path == "/v1/end_users" and n in {2, 3} else ""
        run = checked(tap(config=sandbox.config, sleepless=True))
    assert len(run.records("end_users")) == 300
    assert run.log.count("429 Too Many Requests for /v1/end_users. Retrying") == 2


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
    for stream in ("declines", "responses"):
        assert seen(first.records(stream)) == account.tables[stream].versions()
    assert 250 <= len(first.records("end_users")) < 900
    assert second.status == 0
    assert seen(first.records("end_users") + second.records("end_users")) == account.end_users.versions()
    assert second.records("responses") == []


def test_a_token_endpoint_that_is_down_ends_the_sync_at_once_with_its_state() -> None:
    # The server's time goes by half of a token's life at each request.
    with Sandbox(Account(900, 900, declines=900), Clock(NOW, step=400)) as sandbox:
        sandbox.fault = lambda path, n: "503" if path == "/oauth/token" and n >= 2 else ""
        run = checked(tap(config=sandbox.config, sleepless=True))
    assert run.status == 1
    [error] = run.errors
    assert error.startswith("Access token: 503 Service Unavailable for /oauth/token. Giving up after ")
    assert run.messages[-1]["type"] == "STATE"
    assert run.bookmark("declines")
    assert {request.path for request in sandbox.requests} == {"/oauth/token", "/v1/declines"}
    assert sum(run.slept) < 360


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


class RawServer(ThreadingTCPServer):
    """An API whose token and declines are fine, and that sends any bytes for responses, and some of them for ever."""

    daemon_threads = True

    def __init__(self, sent: bytes, endless: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _RawHandler)
        self.sent, self.endless = sent, endless
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def config(self) -> dict[str, Any]:
        return {
            "api_url": f"http://127.0.0.1:{self.server_address[1]}",
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            "request_timeout": 1,
            "start_date": "2024-01-01",
        }

    def __exit__(self, *_error: object) -> None:
        self.shutdown()
        self.server_close()


class _RawHandler(StreamRequestHandler):
    server: RawServer

    def handle(self) -> None:
        with suppress(ConnectionError):
            while line := self.rfile.readline():
                self.rfile.read(int(parse_headers(self.rfile).get("Content-Length", 0)))
                if b"/v1/responses" in line:
                    self.wfile.write(self.server.sent)
                    while self.server.endless:
                        self.wfile.write(self.server.endless)
                    return
                body = json.dumps({"access_token": "sandbox-token"} if b"/oauth" in line else []).encode()
                self.wfile.write(b"%sContent-Length: %d\r\n\r\n%s" % (HEAD, len(body), body))


HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
MOVED = b"HTTP/1.1 302 Found\r\n"
GZIP = HEAD + b"Content-Encoding: gzip\r\n\r\n"
TIMEOUT = "/v1/responses did not answer in time. Giving up after"
BROKEN = "The response of /v1/responses is broken"
ROW = b'[{"id": 1, "end_user": {"properties": {"a": "\\u0000", "b": %s}}}]'


@pytest.mark.parametrize(
    ("sent", "endless", "error"),
    [
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n", TIMEOUT),
        (HEAD + b"\r\n", b" ", TIMEOUT),
        (CHUNKED, b"1\r\n \r\n", TIMEOUT),
        (CHUNKED + b"0\r\n", b"X: a\r\n", TIMEOUT),
        (GZIP + gzip.compress(b" " * 2**25), b"", "A response has more than 16 MB"),
        (CHUNKED + b"-5\r\n[]\r\n", b"", BROKEN),
        (HEAD + b"Content-Length: 2, 3\r\n\r\n[]", b"", BROKEN),
        (GZIP + b"[]", b"", BROKEN),
        (HEAD + b"garbage\r\n\r\n{", b"", "the body is not JSON. Giving up"),
        (HEAD + b"Set-Cookie: a=b; max-age=%s\r\n\r\n{" % (b"9" * 400), b"", "the body is not JSON. Giving up"),
        (HEAD + b"\r\n" + ROW % (b"[" * 5_000 + b"]" * 5_000), b"", "its JSON has more than 250 levels"),
        (MOVED + b"Location: http://[::1\r\n\r\n", b"", "the API redirects to http://[::1; check api_url"),
        (MOVED + b"Location: \xff\r\n\r\n", b"", "the API redirects; check api_url"),
        (b"HTTP/1.1 429 Busy\r\nRetry-After: 3600\r\n\r\n", b"", "The API asks to wait 3600 s before another request"),
        (b"HTTP/1.1 403 No\r\nRetry-After: 1\r\n\r\n", b"", " for /v1/responses. Giving up"),
    ],
    ids=range(15),
)
def test_a_hostile_response_ends_its_stream_with_one_line_and_no_other(sent: bytes, endless: bytes, error: str) -> None:
    with RawServer(sent, endless) as server:
        # The clock is fast, so that responses that never end take no time.
        run = checked(tap(config=server.config, catalog=selecting("declines", "responses"), sleepless=True, tick=0.2))
    assert run.status == 1
    assert len(run.errors) == 1, run.log
    assert run.errors[0].startswith("responses: ")
    assert error in run.errors[0]
    assert "declines: done" in run.log
    assert sum(run.slept) < 360
