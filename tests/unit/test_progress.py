"""A line every ten seconds at most, about the stream, with the numbers that its reader waits for."""

from __future__ import annotations

import logging

import pytest

from tap_wootric.progress import Progress
from tap_wootric.records.timestamps import unix_seconds

LOGGER = logging.getLogger("test.progress")
START, END = unix_seconds("2025-01-01T00:00:00Z"), unix_seconds("2025-12-31T00:00:00Z")


class Clock:
    now = 50.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(caplog: pytest.LogCaptureFixture) -> Clock:
    caplog.set_level(logging.INFO, LOGGER.name)
    return Clock()


def progress(clock: Clock, *, start: int = START, throttled: list[float] | None = None) -> Progress:
    return Progress(
        name="end_users",
        logger=LOGGER,
        start=start,
        end=END,
        throttled_seconds=lambda: sum(throttled or []),
        clock=clock,
    )


def test_a_line_is_due_every_ten_seconds(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    reader = progress(clock)
    for seconds in range(1, 31):
        clock.now = 50.0 + seconds
        reader.reached("2025-07-02T00:00:00Z")
    assert len(caplog.messages) == 3


def test_a_line_says_where_reading_is_and_how_long_it_will_take(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    reader = progress(clock)
    reader.rows, reader.requests = 1_234, 25
    clock.now += 12
    reader.reached("2025-07-02T00:00:00Z")  # 182 of 364 days.
    assert caplog.messages == [
        "end_users: at 2025-07-02 (50% of the date range, about 12 s left), 1,234 rows in 25 requests and 12 s"
    ]
    fields = vars(caplog.records[0])
    assert (fields["rows"], fields["requests"], fields["seconds_left"], fields["part"]) == (1_234, 25, 12, 0.5)
    assert fields["at"] == "2025-07-02T00:00:00Z"


def test_without_a_known_start_the_first_timestamp_is_the_start(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    reader = progress(clock, start=-1)
    reader.reached("2025-07-02T00:00:00Z")
    clock.now += 100
    reader.reached("2025-10-01T00:00:00Z")  # 91 of 182 days.
    assert "50% of the date range, about 1 min 40 s left" in caplog.text


def test_at_the_start_of_the_range_nothing_is_predicted(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    reader = progress(clock)
    clock.now += 3_725
    reader.reached("2025-01-01T00:00:00Z")
    assert caplog.messages == ["end_users: at 2025-01-01, 0 rows in 0 requests and 1 h 2 min"]


def test_past_the_end_of_the_range_no_more_than_all_of_it_is_read(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    reader = progress(clock)
    clock.now += 10
    reader.reached("2026-02-01T00:00:00Z")
    assert "(100% of the date range, about 0 s left)" in caplog.text


def test_a_row_without_a_timestamp_is_no_position(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    reader = progress(clock)
    clock.now += 60
    reader.reached(None)
    assert caplog.messages == []


def test_a_summary_ends_the_stream_with_its_own_share_of_waiting(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    throttled = [40.0]  # By the streams before.
    with progress(clock, throttled=throttled) as reader:
        reader.rows = reader.requests = 1
        clock.now += 95
        throttled.append(61.0)
    assert caplog.messages == [
        "end_users: done, 1 row in 1 request and 1 min 35 s, including 1 min 1 s of waiting for the rate limit"
    ]
    assert vars(caplog.records[0])["seconds_waited"] == 61


def test_a_stream_that_fails_has_no_summary(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        with progress(clock):
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert caplog.messages == []
