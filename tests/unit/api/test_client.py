"""Requests are authenticated, paced and retried, and nothing secret is logged about them."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import requests
from requests.exceptions import (
    InvalidProxyURL,
    InvalidURL,
    ProxyError,
    SSLError,
)
from singer_sdk.exceptions import FatalAPIError, RetriableAPIError
from urllib3.exceptions import MaxRetryError, NewConnectionError

from tap_wootric.api.client import HASTY, PATIENT, Client, RetryPolicy
from tap_wootric.api.rate_limit import RateLimiter
from tap_wootric.api.responses import AccessDeniedError, ApiUnavailableError
from tap_wootric.signals import Terminated
from tests.unit.api.fakes import API_URL, SERVER_TIME, SETTINGS, FakeApi, FakeTime, response, token

PATH = "/v1/responses"


def client(api: FakeApi, time: FakeTime | None = None, **settings: Any) -> Client:
    time = time or FakeTime()
    return Client(
        replace(SETTINGS, **settings), rate_limiter=time.rate_limiter(), session=api.session(), sleep=time.sleep
    )


def tokens_sent(api: FakeApi) -> list[str]:
    return [str(request.headers["Authorization"]) for request in api.sent if request.method == "GET"]


def test_requests_carry_their_own_parameters_and_share_a_token() -> None:
    api = FakeApi([token(), response(content=[1]), response()])
    client_ = client(api)
    assert client_.request(PATH, {"per_page": 50, "created[gte]": 7}).json() == [1]
    client_.request("/v1/declines", {})
    assert [request.url for request in api.sent[1:]] == [
        f"{API_URL}{PATH}?per_page=50&created%5Bgte%5D=7",
        f"{API_URL}/v1/declines",
    ]
    assert tokens_sent(api) == ["Bearer token-1"] * 2


class Replica(FakeApi):
    """An API that accepts tokens of some age only; a copy that lags behind the server that issued them."""

    def __init__(self, time: FakeTime, min_age: float) -> None:
        super().__init__([])
        self.issued: dict[str, float] = {}
        self._time = time
        self._min_age = min_age

    def send(self, request: requests.PreparedRequest, *_: Any, **options: Any) -> requests.Response:
        if request.method == "POST":
            name = f"token-{len(self.issued) + 1}"
            self.issued[f"Bearer {name}"] = self._time.seconds
            self.answers = [token(access_token=name)]
        else:
            age = self._time.seconds - self.issued[str(request.headers["Authorization"])]
            self.answers = [response(200 if age >= self._min_age else 401)]
        return super().send(request, *_, **options)


@pytest.mark.parametrize(("min_age", "pauses"), [(0, []), (0.5, [1]), (1.5, [1, 2]), (4, [1, 2, 4])])
def test_a_server_that_does_not_know_fresh_tokens_yet_is_given_time_after_each_new_one(
    min_age: float, pauses: list[float]
) -> None:
    time = FakeTime()
    api = Replica(time, min_age)
    assert client(api, time).request(PATH, {}).status_code == 200
    assert sum(time.slept) == sum(pauses)
    assert tokens_sent(api) == list(api.issued)


def test_an_api_that_rejects_one_token_after_another_cannot_be_used() -> None:
    time = FakeTime()
    with pytest.raises(ApiUnavailableError) as raised:
        client(Replica(time, min_age=5), time).request(PATH, {})
    assert str(raised.value) == (
        "api.example.test rejects fresh tokens (401 Unauthorized for /v1/responses, 5 times in a row): "
        "check that region matches the account, or ask Wootric whether the account may use the API"
    )
    assert sum(time.slept) == 1 + 2 + 4


def test_a_path_that_rejects_every_token_while_another_accepts_them_is_denied() -> None:
    rejections = [answer for _ in range(5) for answer in (response(401), token())]
    client_ = client(FakeApi([token(), response(), *rejections]))
    client_.request(PATH, {})
    with pytest.raises(AccessDeniedError) as raised:
        client_.request("/v1/declines", {})
    assert "401 Unauthorized for /v1/declines, 5 times in a row, while other requests are accepted" in str(raised.value)


def test_a_token_that_is_revoked_costs_one_new_token_and_no_pause() -> None:
    time = FakeTime()
    api = FakeApi([token(), response(), response(401), token(access_token="token-2"), response(content=[1])])  # noqa: S106
    client_ = client(api, time)
    client_.request(PATH, {})
    assert client_.request(PATH, {}).json() == [1]
    assert sum(request.method == "POST" for request in api.sent) == 2
    assert time.slept == []


@pytest.mark.parametrize(
    "answers", [[response(401, {})], [response(404, {})], [response(307, b"", {"Location": "/x"})], [response(503)] * 9]
)
def test_without_a_token_no_path_can_be_read(answers: list[requests.Response | Exception]) -> None:
    with pytest.raises(ApiUnavailableError):
        client(FakeApi(answers)).request(PATH, {})


@pytest.mark.parametrize(
    "fault",
    [
        response(503, b""),
        response(403, headers={"Retry-After": "0"}),
        response(content={}),
        requests.ReadTimeout(),
        requests.ConnectionError(),
    ],
)
def test_a_token_that_cannot_be_fetched_may_come_later(
    fault: requests.Response | Exception, caplog: pytest.LogCaptureFixture
) -> None:
    time = FakeTime()
    assert client(FakeApi([fault, token(), response()]), time).request(PATH, {}).status_code == 200
    assert 2 <= sum(time.slept) < 3
    assert caplog.messages[0].startswith("Access token: ")


@pytest.mark.parametrize("status", [200, 403, 404, 429, 500])
def test_a_response_is_returned_whatever_its_status(status: int) -> None:
    assert client(FakeApi([token(), response(status)])).request(PATH, {}).status_code == status


@pytest.fixture
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NETRC"):
        monkeypatch.delenv(variable, raising=False)
        monkeypatch.delenv(variable.lower(), raising=False)


def sent_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> FakeApi:
    """Return an API after a client with a session of its own has asked it for a token and for a page."""
    api = FakeApi([token(), response()])
    monkeypatch.setattr(requests.Session, "get_adapter", lambda *_, **__: api)
    Client(SETTINGS).request(PATH, {})
    return api


@pytest.mark.usefixtures("_clean_environment")
def test_all_requests_have_a_user_agent_and_never_a_password_from_netrc(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "netrc"
    file.write_text("machine api.example.test login ada password of-another-program\n")
    file.chmod(0o600)
    monkeypatch.setenv("NETRC", str(file))
    sent = sent_in_the_environment(monkeypatch).sent
    assert [request.headers.get("Authorization") for request in sent] == [None, "Bearer token-1"]
    assert {request.headers["User-Agent"] for request in sent} == {"tap-wootric/1.2.3"}
    assert {request.headers["Accept"] for request in sent} == {"application/json"}


@pytest.mark.usefixtures("_clean_environment")
@pytest.mark.parametrize(
    ("environment", "proxy", "certificates"),
    [
        ({}, None, True),
        ({"HTTPS_PROXY": "http://proxy.example.test:3128"}, "http://proxy.example.test:3128", True),
        ({"HTTPS_PROXY": "http://proxy.example.test:3128", "NO_PROXY": "example.test"}, None, True),
        ({"REQUESTS_CA_BUNDLE": "/etc/company.pem"}, None, "/etc/company.pem"),
    ],
)
def test_proxies_and_certificates_come_from_the_environment(
    environment: dict[str, str], proxy: str | None, certificates: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    for options in sent_in_the_environment(monkeypatch).options:
        assert (options["proxies"].get("https"), options["verify"]) == (proxy, certificates)


@pytest.mark.parametrize(
    ("policy", "timeout"), [(PATIENT, (60, 60)), (HASTY, (5, 15))], ids=["a sync", "a person who waits"]
)
def test_the_timeout_is_the_setting_or_less_if_a_person_waits(
    policy: RetryPolicy, timeout: tuple[float, float]
) -> None:
    api = FakeApi([token(), response()])
    Client(SETTINGS, policy, session=api.session()).request(PATH, {})
    assert [options["timeout"] for options in api.options] == [timeout] * 2


def test_requests_are_paced_and_counted_with_their_tokens() -> None:
    time = FakeTime()
    limit = {"X-Rate-Limit-Remaining": "0", "X-Rate-Limit-Reset": str(SERVER_TIME + 30)}
    client_ = client(FakeApi([token(), response(headers=limit), requests.ReadTimeout()]), time)
    client_.request(PATH, {})
    with pytest.raises(requests.ReadTimeout):
        client_.request(PATH, {})
    assert time.slept == [30]
    assert client_.rate_limiter.requests_sent == 3


def test_a_token_that_expires_during_a_wait_for_a_limit_is_renewed_first() -> None:
    limit = {"X-Rate-Limit-Remaining": "0", "X-Rate-Limit-Reset": str(SERVER_TIME + 30)}
    api = FakeApi([token(), response(headers=limit), token(access_token="token-2"), response()])  # noqa: S106
    rate_limiter = RateLimiter(FakeTime().clock(), sleep=lambda _: client_.authenticator.invalidate())
    client_ = Client(SETTINGS, rate_limiter=rate_limiter, session=api.session())
    for _ in range(2):
        client_.request(PATH, {})
    assert tokens_sent(api) == ["Bearer token-1", "Bearer token-2"]


def test_waits_for_limits_and_retries_and_the_next_request_end_when_a_check_raises() -> None:
    time, checks = FakeTime(), count(1)

    def check() -> None:
        if next(checks) > 3:
            raise Terminated(15)

    client_ = Client(SETTINGS, session=FakeApi([token()]).session(), sleep=time.sleep, check=check)
    client_.rate_limiter.learn(PATH, response(429, headers={"Retry-After": "90"}))
    for _ in range(2):
        with pytest.raises(Terminated):
            client_.request(PATH, {})
    with pytest.raises(Terminated):
        client_.with_retries("responses", failing(RetriableAPIError("busy")))
    assert time.slept == [1, 1]


def test_one_token_tells_the_servers_time_before_the_first_request() -> None:
    api = FakeApi([token()])
    client_ = client(api)
    for _ in range(2):
        client_.authenticate()
    assert client_.rate_limiter.clock.server_time() == SERVER_TIME
    assert len(api.sent) == 1


def failing(*errors: Exception) -> Callable[[], str]:
    """Return a function that raises each error in turn, then returns."""
    remaining = list(errors)

    def function() -> str:
        if remaining:
            raise remaining.pop(0)
        return "done"

    return function


def retried(function: Callable[..., Any], time: FakeTime, policy: RetryPolicy = PATIENT) -> Callable[..., Any]:
    """Return the function with retries, whose pauses are written down instead of taken."""
    session = FakeApi([]).session()
    client_ = Client(SETTINGS, policy, session=session, sleep=time.sleep, monotonic=time.monotonic)
    return lambda *args: client_.with_retries("responses", lambda: function(*args))


@pytest.mark.parametrize(
    "error",
    [
        RetriableAPIError("busy"),
        requests.ConnectionError(),
        requests.ConnectTimeout(),
        requests.ReadTimeout(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_that_may_pass_is_retried(error: Exception) -> None:
    time = FakeTime()
    assert retried(failing(error), time)() == "done"
    assert 2 <= sum(time.slept) < 3


def test_pauses_double_up_to_a_minute_with_jitter_and_the_ninth_attempt_is_the_last(
    caplog: pytest.LogCaptureFixture,
) -> None:
    error, time = RetriableAPIError("502 Bad Gateway for /v1/responses"), FakeTime()
    assert retried(failing(*[error] * 8), FakeTime())() == "done"
    caplog.clear()
    with pytest.raises(FatalAPIError) as raised:
        retried(failing(*[error] * 9), time)()
    pauses = [float(record.args[1]) for record in caplog.records if isinstance(record.args, tuple)]  # type: ignore[arg-type]
    assert [int(pause) for pause in pauses] == [2, 4, 8, 16, 32, 64, 64, 64]
    assert any(pause % 1 for pause in pauses)
    assert sum(time.slept) == pytest.approx(sum(pauses))
    assert str(raised.value) == (
        f"responses: 502 Bad Gateway for /v1/responses. Giving up after {sum(time.slept):.0f} s of retries"
    )


@pytest.mark.parametrize(
    ("policy", "seconds", "attempts"),
    [
        (PATIENT, 400, 3),
        (PATIENT, 99, 3),
        (PATIENT, 90, 4),
        (PATIENT, 60, 5),
        (HASTY, 0, 3),
        (HASTY, 5, 2),
        (HASTY, 20, 1),
    ],
)
def test_slow_attempts_end_after_five_minutes_or_ten_seconds_if_a_person_waits(
    policy: RetryPolicy, seconds: float, attempts: int
) -> None:
    time = FakeTime()
    made = 0

    def slow() -> None:
        nonlocal made
        made += 1
        time.seconds += seconds
        raise requests.ReadTimeout

    with pytest.raises(FatalAPIError):
        retried(slow, time, policy)()
    assert made == attempts


def unreachable() -> requests.ConnectionError:
    reason = NewConnectionError(None, "Failed to establish a new connection")  # type: ignore[arg-type]
    return requests.ConnectionError(MaxRetryError(None, "/", reason))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("error", "error_type"),
    [
        (unreachable(), ApiUnavailableError),
        (requests.ConnectTimeout(), ApiUnavailableError),
        (SSLError("unexpected end"), ApiUnavailableError),
        (ProxyError(), ApiUnavailableError),
        (InvalidProxyURL(), ApiUnavailableError),
        (requests.ReadTimeout(), FatalAPIError),
        (requests.ConnectionError("Connection aborted."), FatalAPIError),
        (RetriableAPIError("500 for /v1/responses"), FatalAPIError),
    ],
    ids=repr,
)
def test_only_an_error_that_concerns_all_paths_means_that_the_api_cannot_be_used(
    error: Exception, error_type: type[Exception]
) -> None:
    with pytest.raises(FatalAPIError) as raised:
        retried(failing(*[error] * 9), FakeTime())()
    assert type(raised.value) is error_type


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (SSLError(ssl.SSLCertVerificationError("expired")), "responses: The API could not be reached (SSLCertVerific"),
        (InvalidURL("https://user:secret@"), "responses: The API could not be reached (InvalidURL)"),
        (FatalAPIError("400 Bad Request for /v1/responses"), "400 Bad Request for /v1/responses"),
        (KeyError("id"), "'id'"),
    ],
    ids=repr,
)
def test_an_error_that_cannot_pass_is_raised_at_once(error: Exception, message: str) -> None:
    time = FakeTime()
    with pytest.raises((FatalAPIError, KeyError)) as raised:
        retried(failing(error), time)()
    assert str(raised.value).startswith(message)
    assert "Giving up" not in str(raised.value)
    assert time.slept == []


def test_a_retry_is_logged_in_one_line_without_the_parameters_of_the_request(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    time = FakeTime()
    client_ = client(FakeApi([token(), requests.ReadTimeout("?email=ada"), response(content=[])]), time)
    retried(client_.request, time)(PATH, {"email": "ada@example.com"})
    (line,) = caplog.messages
    assert line == (
        "responses: https://api.example.test/v1/responses did not answer in time. "
        f"Retrying in {sum(time.slept):.0f} s (attempt 2 of 9)"
    )
