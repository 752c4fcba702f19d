"""A line every ten seconds at most, about the stream, with the numbers that its reader waits for."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable

import pytest

from tap_wootric.api.rate_limit import Clock, RateLimiter
from tap_wootric.progress import Effort, Progress, RequestsAfter, log_total
from tap_wootric.records.timestamps import timestamp_of_second, unix_seconds

LOGGER = logging.getLogger("test.progress")
START, END = unix_seconds("2025-01-01T00:00:00Z"), unix_seconds("2025-12-31T00:00:00Z")
MIDDLE = "2025-07-02T00:00:00Z"
"""182 of 364 days."""


class Spent(RateLimiter):
    """What has been spent so far, by all streams."""

    def __init__(self) -> None:
        super().__init__(Clock(monotonic=lambda: self.seconds))
        self.seconds = 50.0
        self.requests_sent = 7
        self.throttled_seconds = 40.0


@pytest.fixture
def spent(caplog: pytest.LogCaptureFixture) -> Spent:
    caplog.set_level(logging.INFO, LOGGER.name)
    return Spent()


def progress(
    spent: Spent, *, start: int = START, forecast: Callable[[int], RequestsAfter | None] = lambda _: None
) -> Progress:
    return Progress(name="end_users", logger=LOGGER, start=start, end=END, rate_limiter=spent, forecast=forecast)


def test_a_line_is_due_every_ten_seconds(spent: Spent, caplog: pytest.LogCaptureFixture) -> None:
    reader = progress(spent)
    for _ in range(30):
        spent.seconds += 1
        reader.reached(MIDDLE)
    assert len(caplog.messages) == 3


def test_a_line_says_where_reading_is_how_fast_it_is_and_how_long_it_will_take(
    spent: Spent, caplog: pytest.LogCaptureFixture
) -> None:
    reader = progress(spent, forecast=lambda _: lambda second: 50 if second == unix_seconds(MIDDLE) else 0)
    reader.rows = 1_234
    spent.seconds, spent.requests_sent = spent.seconds + 80, spent.requests_sent + 100
    reader.reached(MIDDLE)
    line = "end_users: at 2025-07-02 (50% of the date range), 1,234 rows in 100 requests and 1 min 20 s"
    assert caplog.messages == [f"{line}, 15 rows a second, about 40 s left"]


@pytest.mark.parametrize("began_at", range(0, 60, 2))
def test_with_a_limit_of_100_requests_a_minute_the_first_time_left_is_within_a_factor_of_two(
    began_at: int, spent: Spent, caplog: pytest.LogCaptureFixture
) -> None:
    spent.seconds, sent_in_minute = float(began_at), Counter[int]()
    reader = progress(spent, forecast=lambda _: lambda _: 1_000)
    while "left" not in caplog.text:
        minute = int(spent.seconds / 60)
        if sent_in_minute[minute] == 100:
            minute += 1
            spent.seconds = minute * 60.0
        sent_in_minute[minute] += 1
        spent.seconds, spent.requests_sent = spent.seconds + 0.3, spent.requests_sent + 1
        reader.reached(MIDDLE)
    (minutes,) = re.findall(r"about (\d+) min \d+ s left", caplog.messages[-1])
    assert 5 <= int(minutes) < 20


def test_a_stream_that_takes_less_than_seventy_seconds_is_not_forecast(spent: Spent) -> None:
    reader = progress(spent, forecast=lambda _: pytest.fail("It would cost requests."))
    for _ in range(3):
        spent.seconds += 23
        reader.reached(MIDDLE)


def test_a_forecast_is_used_for_ten_minutes(spent: Spent, caplog: pytest.LogCaptureFixture) -> None:
    forecasts: list[int] = []

    def forecast(second: int) -> Callable[[int], float]:
        forecasts.append(second)
        return lambda second: END - second

    reader = progress(spent, forecast=forecast)
    for minute in range(30):
        spent.seconds, spent.requests_sent = spent.seconds + 60, spent.requests_sent + 1
        reader.reached(f"2025-07-02T00:{minute:02}:00Z")
    assert len(caplog.messages) == 30
    assert forecasts == [unix_seconds(f"2025-07-02T00:{minute:02}:00Z") for minute in (1, 11, 21)]


def test_a_range_without_a_start_starts_with_the_first_row(spent: Spent, caplog: pytest.LogCaptureFixture) -> None:
    reader = progress(spent, start=0)
    reader.reached(f"{timestamp_of_second(START)}Z")
    spent.seconds += 3_720
    reader.reached(MIDDLE)
    assert caplog.messages == ["end_users: at 2025-07-02 (50% of the date range), 0 rows in 0 requests and 1 h 2 min"]


def test_past_the_end_of_the_range_no_more_than_all_of_it_is_read(
    spent: Spent, caplog: pytest.LogCaptureFixture
) -> None:
    reader = progress(spent)
    spent.seconds += 10
    reader.reached("2026-02-01T00:00:00Z")
    assert "(100% of the date range)" in caplog.text


def test_a_row_without_a_timestamp_is_no_position(spent: Spent, caplog: pytest.LogCaptureFixture) -> None:
    reader = progress(spent)
    spent.seconds += 60
    reader.reached("")
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("position", "up_to"),
    [("2025-12-30T01:02:03.456Z", ", up to 2025-12-30T01:02:03Z"), ("2025-12-30", ", up to 2025-12-30"), ("", "")],
)
def test_a_summary_has_the_streams_own_share_of_requests_and_waiting(
    position: str, up_to: str, spent: Spent, caplog: pytest.LogCaptureFixture
) -> None:
    reader = progress(spent)
    reader.rows = 1
    spent.seconds, spent.requests_sent, spent.throttled_seconds = spent.seconds + 95, spent.requests_sent + 1, 101
    assert not reader.is_done
    reader.done(position)
    assert caplog.messages == [
        "end_users: done, 1 row in 1 request and 1 min 35 s, including 1 min 1 s of waiting for the rate limit" + up_to
    ]
    assert reader.is_done


# The whole sync


def test_the_last_line_adds_up_the_streams_and_has_all_requests(spent: Spent, caplog: pytest.LogCaptureFixture) -> None:
    effort = Effort(spent)
    spent.requests_sent += 1  # For the token, which belongs to no stream.
    streams = {name: progress(spent) for name in ("end_users", "responses")}
    for reader in streams.values():
        reader.rows, spent.requests_sent, spent.seconds = 1_000, spent.requests_sent + 20, spent.seconds + 30
        reader.is_done = True
    log_total(LOGGER, effort, streams)
    assert caplog.messages == ["Sync done: 2 streams, 2,000 rows in 41 requests and 1 min 0 s"]


def test_the_last_line_names_the_streams_that_are_not_done(spent: Spent, caplog: pytest.LogCaptureFixture) -> None:
    effort, done, failed = Effort(spent), progress(spent), progress(spent)
    done.is_done, done.rows, failed.rows = True, 3, 1
    log_total(LOGGER, effort, {"declines": done, "end_users": failed, "responses": None})
    assert caplog.messages == [
        "Sync incomplete: 1 of 3 streams done, 4 rows in 0 requests and less than 1 s; not done: end_users, responses"
    ]
