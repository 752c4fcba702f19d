"""Requests are as fast as the API allows and never faster, and a clock that is wrong loses nothing."""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime
from email.utils import formatdate

import pytest
import requests
from singer_sdk.exceptions import FatalAPIError

from tests.unit.api.fakes import SERVER_TIME, FakeTime, response

ENDPOINT = "/v1/responses"


def date(unix_seconds: float) -> str:
    return formatdate(unix_seconds, usegmt=True)


def limit(remaining: int, reset: float) -> dict[str, str]:
    return {
        "X-Rate-Limit-Limit": "100",
        "X-Rate-Limit-Remaining": str(remaining),
        "X-Rate-Limit-Reset": str(reset),
    }


def slept_after(*responses: requests.Response, endpoint: str = ENDPOINT) -> list[float]:
    """Return the sleeps before two requests to an endpoint, after responses of ENDPOINT."""
    time = FakeTime()
    rate_limiter = time.rate_limiter()
    for received in responses:
        rate_limiter.learn(ENDPOINT, received)
    for _ in range(2):
        rate_limiter.wait(endpoint)
    assert rate_limiter.throttled_seconds == sum(time.slept)
    return time.slept


# The clocks


def test_the_clock_goes_on_from_the_date_of_the_latest_response() -> None:
    time = FakeTime()
    clock = time.clock()
    for wrong in (86_400, 0):
        clock.update(date(SERVER_TIME + wrong))
    time.seconds += 0.9
    assert clock.server_time() == SERVER_TIME + 0.9


@pytest.mark.parametrize(
    "header",
    [
        "Tue, 31 Dec 2013 23:59:59 GMT",
        "Fri, 01 Jan 2100 00:00:00 GMT",
        "Fri, 31 Dec 9999 23:59:59 GMT",
        "Fri, 31 Dec 9999 23:59:59 -0800",
        "Mon, 01 Jan 99999 00:00:00 GMT",
        "soon",
        None,
    ],
)
def test_a_date_that_cannot_be_right_is_ignored(header: str | None, caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeTime(local_time=5).clock()
    clock.update(header)
    assert (clock.server_time(), clock.is_set) == (5, False)
    assert caplog.messages == []


@pytest.mark.parametrize("header", ["Wed, 01 Jan 2014 00:00:00 GMT", "Thu, 31 Dec 2099 23:59:59 GMT"])
def test_any_other_date_sets_the_clock(header: str) -> None:
    clock = FakeTime().clock()
    clock.update(header)
    assert clock.is_set
    assert date(clock.server_time()) == header


@pytest.mark.parametrize("ahead", [90.5, -90.5, 0])
def test_either_clock_can_be_the_earlier_one(ahead: float) -> None:
    time = FakeTime(local_time=SERVER_TIME + ahead)
    clock = time.clock()
    assert clock.earlier() == clock.later() == int(SERVER_TIME + ahead)
    clock.update(date(SERVER_TIME))
    assert (clock.earlier(), clock.later()) == (int(SERVER_TIME + min(0, ahead)), int(SERVER_TIME + max(0, ahead)))


@pytest.mark.parametrize(
    ("ahead", "lines"),
    [
        (300, []),
        (-300, []),
        (301, ["The API's clock shows 2027-01-15T08:05:01Z, and this machine's 2027-01-15T08:00:00Z: "]),
        (-86_400, ["The API's clock shows 2027-01-14T08:00:00Z, and this machine's 2027-01-15T08:00:00Z: "]),
    ],
)
def test_clocks_more_than_five_minutes_apart_are_one_warning_that_names_both_times(
    ahead: float, lines: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    clock = FakeTime().clock()
    for _ in range(2):
        clock.update(date(SERVER_TIME + ahead))
    warnings = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert warnings == [f"{line}bookmarks go by the earlier one" for line in lines]


# Limits


@pytest.mark.parametrize("headers", [{}, limit(1, SERVER_TIME + 30)])
def test_an_endpoint_without_a_limit_or_with_requests_left_is_not_slowed_down(headers: dict[str, str]) -> None:
    assert slept_after(response(headers=headers)) == []
    assert slept_after(response(headers=limit(0, SERVER_TIME + 30)), endpoint="/v1/end_users") == []


@pytest.mark.parametrize("status", [403, 408, 425, 429, 503])
@pytest.mark.parametrize("retry_after", ["20", date(SERVER_TIME + 20)])
def test_retry_after_is_honored(status: int, retry_after: str) -> None:
    assert slept_after(response(status, headers={"Retry-After": retry_after})) == [20]


@pytest.mark.parametrize("retry_after", [{}, {"Retry-After": "soon"}])
def test_without_a_usable_retry_after_the_reset_counts_and_without_either_the_next_request_is_not_delayed(
    retry_after: dict[str, str],
) -> None:
    assert slept_after(response(429, headers={**limit(0, SERVER_TIME + 12), **retry_after})) == [12]
    assert slept_after(response(429, headers=retry_after), response(503, headers=retry_after)) == []


@pytest.mark.parametrize(
    ("reset", "slept"),
    [(30, [30]), (3_600, [3_600]), (-1, []), (-3_600, [60]), (86_400, [60]), (60 - SERVER_TIME, [60])],
)
def test_after_the_last_request_the_next_one_waits_until_the_reset_or_a_minute_if_that_is_implausible(
    reset: int, slept: list[float]
) -> None:
    assert slept_after(response(headers=limit(0, SERVER_TIME + reset))) == slept


@pytest.mark.parametrize(("number", "slept"), [("nan", []), ("inf", [60]), ("-1e400", [60]), ("1e400", [60])])
def test_a_number_that_cannot_be_a_time_is_ignored_or_means_a_minute(number: str, slept: list[float]) -> None:
    assert slept_after(response(429, headers={"Retry-After": number})) == slept
    assert slept_after(response(headers={"X-Rate-Limit-Remaining": "0", "X-Rate-Limit-Reset": number})) == slept
    assert slept_after(response(headers={"X-Rate-Limit-Remaining": number, "X-Rate-Limit-Reset": "nan"})) == []


@pytest.mark.parametrize("zone", ["", " -0000", " GMT"])
def test_a_date_without_a_zone_is_in_utc(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    time.tzset()
    try:
        clock = FakeTime().clock()
        clock.update(f"Wed, 31 Dec 2025 00:16:40{zone}")
    finally:
        monkeypatch.undo()
        time.tzset()
    assert clock.server_time() == datetime(2025, 12, 31, 0, 16, 40, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(("behind", "slept"), [(600, 30), (-600, 30), (3_500, 30), (10, 40)])
def test_a_wrong_date_does_not_make_the_wait_for_a_reset_longer_than_this_machines_clock_shows(
    behind: float, slept: float
) -> None:
    headers = {**limit(0, SERVER_TIME + 30), "Date": date(SERVER_TIME - behind)}
    assert slept_after(response(headers=headers)) == [slept]


@pytest.mark.parametrize(("retry_after", "waits"), [(3_600, 0), (301, 0), (299, 1), (100, 3)])
def test_a_busy_api_makes_a_request_wait_five_minutes_at_most(retry_after: int, waits: int) -> None:
    time = FakeTime()
    rate_limiter = time.rate_limiter()
    busy = response(503, headers={"Retry-After": str(retry_after)})
    for _ in range(2):  # A response with data begins anew.
        time.slept.clear()
        for _ in range(waits):
            rate_limiter.learn(ENDPOINT, busy)
            rate_limiter.wait(ENDPOINT)
        with pytest.raises(
            FatalAPIError, match=rf"^The API asks to wait {retry_after} s before another request for /v1"
        ):
            rate_limiter.learn(ENDPOINT, busy)
        assert time.slept == [retry_after] * waits
        rate_limiter.learn(ENDPOINT, response())


def test_the_latest_response_decides_how_long_to_wait() -> None:
    assert slept_after(*(response(headers=limit(0, SERVER_TIME + seconds)) for seconds in (30, 40))) == [40]


@pytest.mark.parametrize(
    ("seconds", "lines"),
    [(4, []), (30, ["/v1/responses: waiting 30 s until the rate limit allows the next request"])],
)
def test_only_long_waits_are_logged(seconds: int, lines: list[str], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    assert slept_after(response(headers=limit(0, SERVER_TIME + seconds))) == [seconds]
    assert caplog.messages == lines
