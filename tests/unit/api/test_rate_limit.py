"""As fast as the API allows and never faster, by the server's clock."""

from __future__ import annotations

from email.utils import formatdate

import pytest
import requests

from tap_wootric.api.rate_limit import RateLimiter

SERVER = 1_800_000_000
"""The server's time, far from that of any machine that runs this."""


class Time:
    """What the rate_limiter knows as the module `time`: a clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return 5.0

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    fake = Time()
    monkeypatch.setattr("tap_wootric.api.rate_limit.time", fake)
    return fake


def answer(status: int = 200, headers: dict[str, str] | None = None) -> requests.Response:
    response = requests.Response()
    response.status_code = status
    response.headers.update({"Date": formatdate(SERVER, usegmt=True), **(headers or {})})
    return response


def limit(remaining: int, reset: float) -> dict[str, str]:
    return {
        "X-Rate-Limit-Limit": "100",
        "X-Rate-Limit-Remaining": str(remaining),
        "X-Rate-Limit-Reset": str(reset),
    }


def slept(time: Time, *answers: requests.Response, endpoint: str = "/v1/responses") -> list[float]:
    rate_limiter = RateLimiter()
    for one in answers:
        rate_limiter.update("/v1/responses", one)
    for _ in range(2):
        with rate_limiter.acquire(endpoint):
            pass
    return time.slept


def test_the_time_is_the_servers(time: Time) -> None:
    rate_limiter = RateLimiter()
    rate_limiter.update("/", answer())
    time.now += 7
    assert rate_limiter.now() == SERVER + 7


def test_the_time_does_not_run_back_where_a_date_is_cut_to_its_second(time: Time) -> None:
    rate_limiter = RateLimiter()
    rate_limiter.update("/", answer())
    time.now += 0.9
    rate_limiter.update("/", answer())
    assert rate_limiter.now() == SERVER + 0.9


@pytest.mark.usefixtures("time")
def test_a_wrong_date_does_not_tell_the_time_for_long() -> None:
    rate_limiter = RateLimiter()
    rate_limiter.update("/", answer(headers={"Date": formatdate(SERVER + 86_400, usegmt=True)}))
    for _ in range(20):
        rate_limiter.update("/", answer())
    assert rate_limiter.now() == SERVER


@pytest.mark.usefixtures("time")
@pytest.mark.parametrize("date", ["Thu, 01 Jan 1970 00:00:00 GMT", "Mon, 01 Jan 99999 00:00:00 GMT", "soon", ""])
def test_a_date_that_makes_no_sense_is_none(date: str) -> None:
    rate_limiter = RateLimiter()
    rate_limiter.update("/", answer(429, {"Date": date, "Retry-After": date}))
    assert rate_limiter.now() == 5


def test_a_second_that_is_not_over_is_let_pass(time: Time) -> None:
    rate_limiter = RateLimiter()
    rate_limiter.update("/", answer())
    for second in (SERVER - 1, SERVER + 1, SERVER + 3_600):
        rate_limiter.sleep_until(second)
    assert time.slept == [0, 1, 2]


@pytest.mark.usefixtures("time")
def test_the_time_is_ours_while_no_answer_tells_the_servers() -> None:
    rate_limiter = RateLimiter()
    rate_limiter.update("/", requests.Response())
    assert rate_limiter.now() == 5


@pytest.mark.parametrize("headers", [{}, limit(1, SERVER + 30)])
def test_an_endpoint_that_announces_no_limit_or_leaves_requests_is_not_slowed(
    time: Time, headers: dict[str, str]
) -> None:
    assert slept(time, answer(headers=headers)) == []


def test_the_last_request_before_the_limit_is_followed_by_a_wait_until_the_reset(time: Time) -> None:
    assert slept(time, answer(headers=limit(0, SERVER + 30))) == [30]


def test_a_limit_holds_for_its_endpoint_alone(time: Time) -> None:
    assert slept(time, answer(headers=limit(0, SERVER + 30)), endpoint="/v1/end_users") == []


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("after", ["20", formatdate(SERVER + 20, usegmt=True)])
def test_retry_after_is_honoured(time: Time, status: int, after: str) -> None:
    assert slept(time, answer(status, {"Retry-After": after})) == [20]


def test_a_429_without_retry_after_waits_until_the_reset(time: Time) -> None:
    assert slept(time, answer(429, limit(0, SERVER + 12))) == [12]


def test_a_reset_that_has_just_been_is_no_wait(time: Time) -> None:
    assert slept(time, answer(headers=limit(0, SERVER - 1))) == []


@pytest.mark.parametrize("reset", [SERVER - 3_600, SERVER + 86_400, 60])
def test_a_reset_that_makes_no_sense_means_a_minute(time: Time, reset: float) -> None:
    assert slept(time, answer(headers=limit(0, reset))) == [60]
