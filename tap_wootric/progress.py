"""Logs the progress of a sync: a line now and then, a summary of each stream, and one of the whole sync."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

import pendulum

from tap_wootric.api.rate_limit import RateLimiter
from tap_wootric.records.timestamps import DATE_LENGTH, SECOND_LENGTH, unix_seconds

_INTERVAL_SECONDS = 10.0
"""The shortest time between two lines of a stream."""

_FIRST_FORECAST_SECONDS = 70.0
"""A stream that takes less has no forecast, so that short syncs pay for none.

A limit of 100 requests a minute makes bursts with waits in between. By this time, requests of 300 ms have come at most
1.7 times as fast as in the long run, and those of 150 ms at most twice as fast (simulated)."""

_FORECAST_LIFETIME_SECONDS = 600.0
"""A forecast is renewed after this time, in case the list is not as it seemed."""

RequestsAfter = Callable[[int], float]
"""Returns about how many requests it takes to read the rest of a stream, from a Unix second on."""


class Effort:
    """What has been spent since this object was made: requests, time, and waiting for the rate limit.

    Args:
        rate_limiter: Counts all requests and waits, and has the clock.
    """

    def __init__(self, rate_limiter: RateLimiter) -> None:
        self._rate_limiter = rate_limiter
        self._began_at = rate_limiter.clock.monotonic()
        self._requests_before = rate_limiter.requests_sent
        self._throttled_before = rate_limiter.throttled_seconds

    @property
    def requests(self) -> int:
        """The number of requests, including those for tokens and those that failed."""
        return self._rate_limiter.requests_sent - self._requests_before

    @property
    def seconds(self) -> float:
        """The time in seconds."""
        return self._rate_limiter.clock.monotonic() - self._began_at

    def __str__(self) -> str:
        waited = round(self._rate_limiter.throttled_seconds - self._throttled_before)
        including = f", including {duration(waited)} of waiting for the rate limit" if waited else ""
        return f"{counted(self.requests, 'request')} and {duration(self.seconds)}{including}"


class Progress:
    """Logs how far a stream has been read, and a summary at its end.

    Args:
        name: The name of the stream.
        logger: Where the lines go.
        start: The Unix second at which the range begins; before 1970 if it is not known.
        end: The Unix second at which the range ends.
        rate_limiter: Counts requests and waits.
        forecast: Called with the Unix second that has been reached, makes an estimate of the rest, or returns None. It
            may send requests, so it is only called for streams that take long, and rarely.

    Attributes:
        rows: The number of rows emitted.
        is_done: Whether the stream has been read to its end.
    """

    def __init__(  # noqa: PLR0913 - All by keyword.
        self,
        *,
        name: str,
        logger: logging.Logger,
        start: int,
        end: int,
        rate_limiter: RateLimiter,
        forecast: Callable[[int], RequestsAfter | None],
    ) -> None:
        self.rows = 0
        self.is_done = False
        self._name = name
        self._logger = logger
        self._start = start
        self._end = end
        self._effort = Effort(rate_limiter)
        self._forecast = forecast
        self._logged_after = 0.0
        self._next_forecast_after = _FIRST_FORECAST_SECONDS
        self._requests_after: RequestsAfter | None = None

    def done(self, position: str) -> None:
        """Log the summary.

        Args:
            position: The latest timestamp or date of the rows; empty if it is not known.
        """
        self.is_done = True
        is_date = len(position) <= DATE_LENGTH
        up_to = position if is_date else f"{position[:SECOND_LENGTH]}Z"
        self._log("done", f", up to {up_to}" if up_to else "")

    def reached(self, timestamp: str) -> None:
        """Log a line if one is due.

        Args:
            timestamp: The position in the range, in the form of `normalize_timestamp`; empty if it is not known.
        """
        if not timestamp:
            return
        second = unix_seconds(timestamp)
        if self._start <= 0:
            self._start = second
        if self._effort.seconds - self._logged_after < _INTERVAL_SECONDS:
            return
        seconds_left = self._seconds_left(second)
        left = "" if seconds_left is None else f", about {duration(seconds_left)} left"
        share = min(1.0, (second - self._start) / max(1, self._end - self._start))
        self._log(f"at {timestamp[:DATE_LENGTH]} ({share:.0%} of the date range)", left)
        self._logged_after = self._effort.seconds

    def _seconds_left(self, second: int) -> int | None:
        """Return about how many seconds it takes to read the rest from a Unix second on, or None without a forecast."""
        if self._effort.seconds >= self._next_forecast_after:
            self._requests_after = self._forecast(second)
            self._next_forecast_after = self._effort.seconds + _FORECAST_LIFETIME_SECONDS
        if self._requests_after is None:
            return None
        return round(self._requests_after(second) * self._effort.seconds / self._effort.requests)

    def _log(self, position: str, suffix: str) -> None:
        seconds = self._effort.seconds
        rows_per_second = round(self.rows / seconds) if seconds >= 1 else 0
        self._logger.info(
            "%s: %s, %s in %s%s%s",
            self._name,
            position,
            counted(self.rows, "row"),
            self._effort,
            f", {counted(rows_per_second, 'row')} a second" if rows_per_second else "",
            suffix,
        )


def log_total(logger: logging.Logger, effort: Effort, streams: Mapping[str, Progress | None]) -> None:
    """Log a line for a whole sync.

    Args:
        logger: Where the line goes.
        effort: What the sync has cost.
        streams: The selected streams by name. None for a stream that has not been begun.
    """
    begun = [progress for progress in streams.values() if progress]
    rows = sum(progress.rows for progress in begun)
    unfinished = [name for name, progress in streams.items() if not (progress and progress.is_done)]
    if unfinished:
        done = f"Sync incomplete: {len(streams) - len(unfinished)} of {counted(len(streams), 'stream')} done"
    else:
        done = f"Sync done: {counted(len(streams), 'stream')}"
    logger.info(
        "%s, %s in %s%s",
        done,
        counted(rows, "row"),
        effort,
        f"; not done: {', '.join(unfinished)}" if unfinished else "",
    )


def counted(number: int, noun: str) -> str:
    """Return a number with a noun, such as `1 row` or `2,000 rows`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """Return a duration such as `9 s`, `1 min 35 s` or `2 h 5 min`."""
    if seconds < 1:
        return "less than 1 s"
    whole = pendulum.duration(seconds=round(seconds))
    if hours := int(whole.total_hours()):
        return f"{hours:,} h {whole.minutes} min"
    return f"{whole.minutes} min {whole.remaining_seconds} s" if whole.minutes else f"{whole.remaining_seconds} s"
