"""A line of progress now and then, for a person who waits for a long sync."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

import pendulum

from tap_wootric.records.timestamps import DATE_LENGTH, unix_seconds

_INTERVAL_SECONDS = 10.0
"""The shortest time between two lines."""


class Progress:
    """Logs how far a stream has been read, and a summary at its end. The log records carry the numbers as fields.

    Args:
        name: The name of the stream.
        logger: Where the lines go.
        start: The Unix second at which the range begins; before 1970 if it is not known.
        end: The Unix second at which the range ends.
        throttled_seconds: Returns the seconds spent waiting for the rate limit so far, by all streams.
        clock: Returns the current time in seconds.

    Attributes:
        rows: The number of rows emitted.
        requests: The number of requests sent, without retries.
    """

    def __init__(  # noqa: PLR0913 - All by keyword.
        self,
        *,
        name: str,
        logger: logging.Logger,
        start: int,
        end: int,
        throttled_seconds: Callable[[], float],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.rows = 0
        self.requests = 0
        self._name = name
        self._logger = logger
        self._start = start
        self._end = end
        self._throttled_seconds = throttled_seconds
        self._clock = clock
        self._began_at = self._logged_at = clock()
        self._throttled_before = throttled_seconds()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._log("done", {})

    def reached(self, timestamp: str | None) -> None:
        """Log a line if one is due.

        Args:
            timestamp: The position in the range, in the form of `normalize_timestamp`; None if it is not known.
        """
        if not timestamp:
            return
        if self._start <= 0:
            self._start = unix_seconds(timestamp)
        if self._clock() - self._logged_at < _INTERVAL_SECONDS:
            return
        self._logged_at = self._clock()
        share = min(1.0, (unix_seconds(timestamp) - self._start) / max(1, self._end - self._start))
        position = f"at {timestamp[:DATE_LENGTH]}"
        fields: dict[str, object] = {"at": timestamp, "part": round(share, 3), "seconds_left": None}
        if share > 0:
            seconds_left = round((self._logged_at - self._began_at) * (1 - share) / share)
            position += f" ({share:.0%} of the date range, about {_duration(seconds_left)} left)"
            fields["seconds_left"] = seconds_left
        self._log(position, fields)

    def _log(self, position: str, fields: dict[str, object]) -> None:
        throttled = self._throttled_seconds() - self._throttled_before
        waited = f", including {_duration(throttled)} of waiting for the rate limit" if round(throttled) else ""
        self._logger.info(
            "%s: %s, %s in %s and %s%s",
            self._name,
            position,
            _count(self.rows, "row"),
            _count(self.requests, "request"),
            _duration(self._clock() - self._began_at),
            waited,
            extra={"rows": self.rows, "requests": self.requests, "seconds_waited": round(throttled), **fields},
        )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _duration(seconds: float) -> str:
    """Return a duration such as `9 s` or `2 h 5 min`."""
    if seconds < 60:  # noqa: PLR2004 - Seconds in a minute.
        return f"{seconds:.0f} s"
    duration = pendulum.duration(seconds=round(seconds))
    hours = int(duration.total_hours())
    return f"{hours:,} h {duration.minutes} min" if hours else f"{duration.minutes} min {duration.remaining_seconds} s"
