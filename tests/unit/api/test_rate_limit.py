"""Requests are as fast as the API allows and never faster, by the server's clock."""

from __future__ import annotations

import logging
import threading
from email.utils import formatdate

import pytest
import requests

from tap_wootric.api.rate_limit import RateLimiter, ServerClock
from tests.unit.api.fakes import LOCAL_TIME, SERVER_TIME, FakeTime, response

ENDPOINT = "/v1/responses"


def server_clock(time: FakeTime) -> ServerClock:
    return ServerClock(monotonic=time.monotonic, local_time=lambda: LOCAL_TIME)


def date(unix_seconds: float) -> str:
    return formatdate(unix_seconds, usegmt=True)


def limit(remaining: int, reset: float) -> dict[str, str]:
    return {
        "X-Rate-Limit-Limit": "100",
        "X-Rate-Limit-Remaining": str(remaining),
        "X-Rate-Limit-Reset": str(reset),
    }


def slept_after(*responses: requests.Response, endpoint: str = ENDPOINT) -> list[float]:
    """Return the sleeps of two requests to an endpoint, after responses of ENDPOINT."""
    time = FakeTime()
    rate_limiter = time.rate_limiter()
    for received in responses:
        rate_limiter.update(ENDPOINT, received)
    for _ in range(2):
        with rate_limiter.acquire(endpoint):
            pass
    assert rate_limiter.throttled_seconds == sum(time.slept)
    return time.slept


def test_the_clock_has_the_servers_time_and_continues_from_there() -> None:
    time = FakeTime()
    clock = server_clock(time)
    clock.update(date(SERVER_TIME))
    time.seconds += 7
    assert clock.now() == SERVER_TIME + 7
    assert clock.is_set


def test_the_clock_does_not_run_backwards_when_a_date_is_truncated_to_its_second() -> None:
    time = FakeTime()
    clock = server_clock(time)
    clock.update(date(SERVER_TIME))
    time.seconds += 0.9
    clock.update(date(SERVER_TIME))
    assert clock.now() == SERVER_TIME + 0.9


def test_a_wrong_date_is_forgotten_after_twenty_responses() -> None:
    clock = server_clock(FakeTime())
    clock.update(date(SERVER_TIME + 86_400))
    for _ in range(19):
        clock.update(date(SERVER_TIME))
    assert clock.now() == SERVER_TIME + 86_400
    clock.update(date(SERVER_TIME))
    assert clock.now() == SERVER_TIME


@pytest.mark.parametrize(
    "header", ["Thu, 01 Jan 1970 00:00:00 GMT", "Mon, 01 Jan 99999 00:00:00 GMT", "soon", "", None]
)
def test_an_implausible_date_does_not_set_the_clock_which_has_local_time_until_then(header: str | None) -> None:
    clock = server_clock(FakeTime())
    clock.update(header)
    assert clock.now() == LOCAL_TIME
    assert not clock.is_set


def test_a_response_sets_the_clock() -> None:
    rate_limiter = FakeTime().rate_limiter()
    rate_limiter.update(ENDPOINT, response())
    assert rate_limiter.clock.now() == SERVER_TIME


def test_sleeping_until_a_second_takes_two_seconds_at_most_and_does_not_count_as_throttled() -> None:
    time = FakeTime()
    rate_limiter = time.rate_limiter()
    rate_limiter.update(ENDPOINT, response())
    for second in (SERVER_TIME - 1, SERVER_TIME + 1, SERVER_TIME + 3_600):
        rate_limiter.sleep_until(second)
    assert time.slept == [0, 1, 2]
    assert rate_limiter.throttled_seconds == 0


@pytest.mark.parametrize("headers", [{}, limit(1, SERVER_TIME + 30)])
def test_an_endpoint_without_a_limit_or_with_requests_left_is_not_slowed_down(headers: dict[str, str]) -> None:
    assert slept_after(response(headers=headers)) == []


def test_after_the_last_allowed_request_the_next_one_waits_until_the_reset() -> None:
    assert slept_after(response(headers=limit(0, SERVER_TIME + 30))) == [30]


def test_a_limit_applies_to_its_own_endpoint_only() -> None:
    assert slept_after(response(headers=limit(0, SERVER_TIME + 30)), endpoint="/v1/end_users") == []


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("retry_after", ["20", date(SERVER_TIME + 20)])
def test_retry_after_is_honoured(status: int, retry_after: str) -> None:
    assert slept_after(response(status, headers={"Retry-After": retry_after})) == [20]


@pytest.mark.parametrize("retry_after", [{}, {"Retry-After": "soon"}])
def test_a_429_without_a_usable_retry_after_waits_until_the_reset(retry_after: dict[str, str]) -> None:
    assert slept_after(response(429, headers={**limit(0, SERVER_TIME + 12), **retry_after})) == [12]


def test_a_429_or_503_that_names_no_time_is_left_to_the_retries() -> None:
    assert slept_after(response(429), response(503)) == []


def test_a_reset_that_has_just_passed_means_no_wait() -> None:
    assert slept_after(response(headers=limit(0, SERVER_TIME - 1))) == []


@pytest.mark.parametrize("reset", [SERVER_TIME - 3_600, SERVER_TIME + 86_400, 60])
def test_an_implausible_reset_means_a_wait_of_a_minute(reset: float) -> None:
    assert slept_after(response(headers=limit(0, reset))) == [60]


def test_the_latest_response_decides_how_long_to_wait() -> None:
    assert slept_after(response(headers=limit(0, SERVER_TIME + 30)), response(headers=limit(0, SERVER_TIME + 40))) == [
        40
    ]


@pytest.mark.parametrize(
    ("answer", "limited"),
    [
        (response(), False),
        (response(503, headers={"Retry-After": "1"}), False),
        (response(429), True),
        (response(headers=limit(7, SERVER_TIME)), True),
    ],
    ids=["no headers", "503", "429", "announced"],
)
def test_an_endpoint_is_limited_once_it_announces_a_limit_or_answers_429(
    answer: requests.Response,
    limited: bool,  # noqa: FBT001
) -> None:
    rate_limiter = FakeTime().rate_limiter()
    rate_limiter.update(ENDPOINT, answer)
    assert rate_limiter.is_limited(ENDPOINT) is limited
    assert not rate_limiter.is_limited("/v1/end_users")


def test_a_limit_announced_during_a_wait_is_kept() -> None:
    time = FakeTime()

    def sleep(seconds: float) -> None:
        time.sleep(seconds)
        if len(time.slept) == 1:
            rate_limiter.update(ENDPOINT, response(headers=limit(0, SERVER_TIME + 50)))

    rate_limiter = RateLimiter(server_clock(time), sleep)
    rate_limiter.update(ENDPOINT, response(headers=limit(0, SERVER_TIME + 30)))
    for _ in range(2):
        with rate_limiter.acquire(ENDPOINT):
            pass
    assert time.slept == [30, 20]


def test_a_limited_endpoint_gets_one_request_at_a_time_and_others_are_not_held_up() -> None:
    rate_limiter = FakeTime().rate_limiter()
    rate_limiter.update(ENDPOINT, response(headers=limit(50, SERVER_TIME)))
    acquired = threading.Event()

    def acquire() -> None:
        with rate_limiter.acquire(ENDPOINT):
            acquired.set()

    thread = threading.Thread(target=acquire)
    with rate_limiter.acquire(ENDPOINT):
        thread.start()
        with rate_limiter.acquire("/v1/end_users"):
            assert not acquired.wait(0.05)
    assert acquired.wait(5)
    thread.join()


@pytest.mark.parametrize(
    ("seconds", "lines"), [(4, []), (30, ["responses: waiting 30 s until the rate limit allows the next request"])]
)
def test_only_long_waits_are_logged(seconds: int, lines: list[str], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    time = FakeTime()
    rate_limiter = RateLimiter(server_clock(time), time.sleep, names={ENDPOINT: "responses"})
    rate_limiter.update(ENDPOINT, response(headers=limit(0, SERVER_TIME + seconds)))
    with rate_limiter.acquire(ENDPOINT):
        assert time.slept == [seconds]
    assert caplog.messages == lines


def test_an_endpoint_without_a_name_is_logged_by_its_path(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    slept_after(response(headers=limit(0, SERVER_TIME + 30)))
    assert caplog.messages == ["/v1/responses: waiting 30 s until the rate limit allows the next request"]


def test_requests_are_counted_with_and_without_a_limit() -> None:
    rate_limiter = FakeTime().rate_limiter()
    for _ in range(2):
        for endpoint in (ENDPOINT, "/v1/segments"):
            with rate_limiter.acquire(endpoint):
                pass
        rate_limiter.update(ENDPOINT, response(headers=limit(50, SERVER_TIME + 30)))
    assert rate_limiter.requests_sent == 4


def test_the_limit_is_learned_from_its_headers_and_is_for_the_longest_time_to_a_reset() -> None:
    rate_limiter = FakeTime().rate_limiter()
    assert rate_limiter.max_requests_per_second(ENDPOINT) is None
    for seconds in (30, 60, 50, -1, 10**6):
        rate_limiter.update(ENDPOINT, response(headers=limit(50, SERVER_TIME + seconds)))
    rate_limiter.update(ENDPOINT, response())
    assert rate_limiter.max_requests_per_second(ENDPOINT) == 100 / 60
    assert rate_limiter.max_requests_per_second("/v1/end_users") is None


@pytest.mark.parametrize("headers", [{}, {**limit(50, SERVER_TIME + 60), "X-Rate-Limit-Limit": "0"}])
def test_without_a_limit_in_its_headers_none_is_known(headers: dict[str, str]) -> None:
    rate_limiter = FakeTime().rate_limiter()
    rate_limiter.update(ENDPOINT, response(429, headers=headers))
    assert rate_limiter.max_requests_per_second(ENDPOINT) is None
