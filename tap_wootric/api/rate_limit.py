"""Keeps requests within the API's rate limits, and tells the time by the server's clock and by this machine's.

Some endpoints are limited per account. They send `X-Rate-Limit-Limit`, `X-Rate-Limit-Remaining` and
`X-Rate-Limit-Reset` (Unix seconds) with every response, and answer 429 past the limit until the reset (documented).
`Retry-After` may come with 429 and 503. Endpoints without such headers are not slowed down.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from datetime import UTC
from email.utils import parsedate_to_datetime

import requests
from singer_sdk.exceptions import FatalAPIError, RetriableAPIError

from tap_wootric.records.timestamps import timestamp_of_second

_logger = logging.getLogger(__name__)

WINDOW_SECONDS = 60.0
"""The documented limit counts requests per minute. It is also the wait for an implausible reset."""
_MAX_WAIT_SECONDS = 3_600.0
"""A reset further ahead is implausible."""
_MAX_RESET_AGE_SECONDS = 2.0
"""A reset further back is implausible."""
_LOGGED_WAIT_SECONDS = 5.0
"""Waits from this length on are logged."""
_PLAUSIBLE_DATES = range(1_388_534_400, 4_102_444_800)
"""From 2014-01-01, before which the API is not known to have existed, to 2100-01-01, in Unix seconds."""
NOTED_DIFFERENCE_SECONDS = 300
"""Clocks that are further apart are worth a warning."""
_MAX_RETRY_WAIT_SECONDS = 300.0
"""The longest total wait of one request while the API is busy: as long as retries may take."""
_BUSY_STATUSES = (408, 425, 429, 503)


class Clock:
    """The time by two clocks: the server's, learned from the `Date` header of its latest response, and this machine's.

    Either may be wrong. A bookmark must not be too late, so it uses the earlier clock. The end of a range must not be
    too early, so it uses the later one. A wrong clock thus costs extra requests, but never a row.

    Args:
        monotonic: Returns seconds that never jump.
        local_time: Returns this machine's time in Unix seconds. Both are also attributes.
    """

    def __init__(
        self, *, monotonic: Callable[[], float] = time.monotonic, local_time: Callable[[], float] = time.time
    ) -> None:
        self.local_time = local_time
        self.monotonic = monotonic
        self._offset: float | None = None
        """The server's time less the monotonic one."""
        self._has_warned = False

    @property
    def is_set(self) -> bool:
        """Whether a response has told the server's time."""
        return self._offset is not None

    def server_time(self) -> float:
        """Return the server's time in Unix seconds; this machine's time until a response has told the server's.

        A `Date` is truncated to the second, and takes a while to arrive, so the result may be a bit behind the server.
        """
        return self.local_time() if self._offset is None else self.monotonic() + self._offset

    def earlier(self) -> int:
        """Return the Unix second by the clock that is behind."""
        return int(min(self.server_time(), self.local_time()))

    def later(self) -> int:
        """Return the Unix second by the clock that is ahead."""
        return int(max(self.server_time(), self.local_time()))

    def update(self, date: str | None) -> None:
        """Learn the server's time from the `Date` header of a response that has just arrived, if it is plausible."""
        server_time = _parse_http_date(date)
        if server_time is None or int(server_time) not in _PLAUSIBLE_DATES:
            return
        self._offset = server_time - self.monotonic()
        if not self._has_warned and abs(server_time - self.local_time()) > NOTED_DIFFERENCE_SECONDS:
            self._has_warned = True
            _logger.warning(
                "The API's clock shows %s, and this machine's %s: bookmarks go by the earlier one",
                *(f"{timestamp_of_second(int(time))}Z" for time in (server_time, self.local_time())),
            )


class RateLimiter:
    """Delays requests to endpoints that announced a limit; shared by all streams of a tap.

    Args:
        clock: The clock, which responses set.
        sleep: Sleeps for a number of seconds.

    Attributes:
        clock: The clock.
        requests_sent: The number of requests so far, including those for tokens and those that failed.
        throttled_seconds: Seconds spent waiting for limits so far.
    """

    def __init__(self, clock: Clock | None = None, sleep: Callable[[float], object] = time.sleep) -> None:
        self.clock = clock or Clock()
        self.requests_sent = 0
        self.throttled_seconds = 0.0
        self._sleep = sleep
        self._retry_wait_seconds: dict[str, float] = {}
        self._blocked_until: dict[str, float] = {}

    def wait(self, endpoint: str) -> None:
        """Sleep until an endpoint, given by its path, accepts a request."""
        seconds = self._blocked_until.get(endpoint, 0) - self.clock.monotonic()
        if seconds >= _LOGGED_WAIT_SECONDS:
            _logger.info("%s: waiting %.0f s until the rate limit allows the next request", endpoint, seconds)
        if seconds > 0:
            self._sleep(seconds)
            self.throttled_seconds += seconds

    def learn(self, endpoint: str, response: requests.Response) -> None:
        """Learn from a response the server's time, and when its endpoint accepts the next request.

        Raises:
            FatalAPIError: The API is busy for longer than retries take.
        """
        self.clock.update(response.headers.get("Date"))
        seconds, waited = self._seconds_to_reset(response), self._retry_wait_seconds.pop(endpoint, 0)
        if math.isnan(seconds):
            return
        if is_busy(response):
            self._retry_wait_seconds[endpoint] = waited + seconds
            if waited + seconds > _MAX_RETRY_WAIT_SECONDS:
                raise FatalAPIError(
                    f"The API asks to wait {seconds:.0f} s before another request for {endpoint}, but retries may wait "
                    f"only {_MAX_RETRY_WAIT_SECONDS:.0f} s in all: run it again later"
                ) from RetriableAPIError(str(response.status_code))
        elif not _is_used_up(response):
            return
        self._blocked_until[endpoint] = self.clock.monotonic() + seconds

    def _seconds_to_reset(self, response: requests.Response) -> float:
        """Return in how many seconds the endpoint accepts requests again, or NaN if the response does not say.

        A wrong `Date` can make it minutes too long. So this machine's clock is used if only it gives a plausible wait.
        """
        seconds = _number(response, "Retry-After")
        if math.isnan(seconds):
            reset = _parse_http_date(response.headers.get("Retry-After")) or _number(response, "X-Rate-Limit-Reset")
            waits = [reset - now for now in (self.clock.server_time(), self.clock.local_time())]
            seconds = next((wait for wait in waits if -_MAX_RESET_AGE_SECONDS <= wait <= WINDOW_SECONDS), waits[0])
        is_implausible = seconds < -_MAX_RESET_AGE_SECONDS or seconds > _MAX_WAIT_SECONDS
        return WINDOW_SECONDS if is_implausible else seconds


def is_busy(response: requests.Response) -> bool:
    """Return whether the API refuses a request only for now. A 403 may be for a limit, or for good."""
    if response.status_code == requests.codes.forbidden:
        return "Retry-After" in response.headers or _is_used_up(response)
    return response.status_code in _BUSY_STATUSES


def _is_used_up(response: requests.Response) -> bool:
    return _number(response, "X-Rate-Limit-Remaining") <= 0


def _parse_http_date(date: str | None) -> float | None:
    try:
        moment = parsedate_to_datetime(date or "")
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (OverflowError, ValueError):
        return None


def _number(response: requests.Response, header: str) -> float:
    """Return the number in a header, or NaN, which compares as false with any other."""
    try:
        return float(response.headers.get(header, ""))
    except ValueError:
        return math.nan
