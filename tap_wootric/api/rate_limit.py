"""Keeps requests within the API's rate limits, and tells the server's time.

Some endpoints are limited per account. They send `X-Rate-Limit-Limit`, `X-Rate-Limit-Remaining` and
`X-Rate-Limit-Reset` (Unix seconds) with every response, and answer 429 past the limit until the reset (documented).
`Retry-After` may come with 429 and 503. Endpoints without such headers are not slowed down.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime

import requests

_logger = logging.getLogger(__name__)

_FALLBACK_WAIT_SECONDS = 60.0
"""Wait for an implausible reset; the documented limit counts requests per minute."""
_MAX_WAIT_SECONDS = 3_600.0
"""A reset further ahead is implausible."""
_MAX_RESET_AGE_SECONDS = 2.0
"""A reset further back is implausible."""
_LOGGED_WAIT_SECONDS = 5.0
"""Waits from this length on are logged."""
_MAX_SLEEP_UNTIL_SECONDS = 2.0
_CLOCK_SAMPLES = 20
"""How many of the latest `Date` headers tell the time. A wrong one is forgotten after that many responses."""
_EARLIEST_DATE = 1_388_534_400
"""2014-01-01 in Unix seconds: the API is not known to be older, so an earlier `Date` is wrong."""
_BLOCKING_STATUSES = (requests.codes.too_many_requests, requests.codes.service_unavailable)


class ServerClock:
    """The server's time, learned from the `Date` headers of its responses.

    Bookmarks and waits depend on it, so a wrong clock on this machine does no harm.

    Args:
        monotonic: Returns seconds that never jump.
        local_time: Returns this machine's time in Unix seconds.
    """

    def __init__(
        self, *, monotonic: Callable[[], float] = time.monotonic, local_time: Callable[[], float] = time.time
    ) -> None:
        self._monotonic = monotonic
        self._local_time = local_time
        self._offsets: deque[float] = deque(maxlen=_CLOCK_SAMPLES)
        self._offset: float | None = None

    @property
    def is_set(self) -> bool:
        """Whether a response has told the time."""
        return self._offset is not None

    def now(self) -> float:
        """Return the server's time in Unix seconds; this machine's time until a response has told the server's.

        A `Date` is truncated to the second, so the result may be up to a second behind the server, but never ahead.
        """
        return self._local_time() if self._offset is None else self._monotonic() + self._offset

    def update(self, date: str | None) -> None:
        """Set the clock by the `Date` header of a response that has just arrived; ignore an implausible one."""
        server_time = _parse_http_date(date)
        if server_time is not None and server_time > _EARLIEST_DATE:
            self._offsets.append(server_time - self._monotonic())
            # Truncation and latency make a sample too small, never too large.
            self._offset = max(tuple(self._offsets))


class RateLimiter:
    """Delays requests to endpoints that announced a limit; shared by all streams and threads of a tap.

    Args:
        clock: The server's clock, which `update` sets.
        sleep: Sleeps for a number of seconds.
        names: What log lines call the endpoints, by path.

    Attributes:
        clock: The server's clock.
        requests_sent: The number of requests so far, to all endpoints.
        throttled_seconds: Seconds spent waiting for limits so far.
    """

    def __init__(
        self,
        clock: ServerClock | None = None,
        sleep: Callable[[float], object] = time.sleep,
        names: Mapping[str, str] | None = None,
    ) -> None:
        self.clock = ServerClock() if clock is None else clock
        self.requests_sent = 0
        self.throttled_seconds = 0.0
        self._sleep = sleep
        self._names = names or {}
        self._limited: set[str] = set()
        self._blocked_until: dict[str, float] = {}
        self._windows: dict[str, tuple[float, float]] = {}
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self._count_lock = threading.Lock()

    @contextmanager
    def acquire(self, endpoint: str) -> Iterator[None]:
        """Hold the right to send one request to an endpoint, given by its path; sleep until the endpoint accepts it.

        A limited endpoint gets one request at a time, because each response decides whether the next request must wait.
        """
        if not self.is_limited(endpoint) and endpoint not in self._blocked_until:
            self._count()
            yield
            return
        with self._locks[endpoint]:
            self._wait(endpoint)
            self._count()
            yield

    def is_limited(self, endpoint: str) -> bool:
        """Return whether the endpoint has announced a limit, or answered 429."""
        return endpoint in self._limited

    def max_requests_per_second(self, endpoint: str) -> float | None:
        """Return what the endpoint's limit allows in the long run; None if it has not announced one."""
        limit, seconds = self._windows.get(endpoint, (0, 0))
        return limit / seconds if limit > 0 and seconds > 0 else None

    def update(self, endpoint: str, response: requests.Response) -> None:
        """Learn from a response the server's time, and when its endpoint accepts the next request."""
        self.clock.update(response.headers.get("Date"))
        remaining = _parse_number(response.headers.get("X-Rate-Limit-Remaining"))
        if remaining is not None or response.status_code == requests.codes.too_many_requests:
            self._limited.add(endpoint)
        self._learn_window(endpoint, response)
        if response.status_code in _BLOCKING_STATUSES or (remaining is not None and remaining <= 0):
            now = self.clock.now()
            reset = _reset_time(response, now)
            if reset is not None:
                is_plausible = -_MAX_RESET_AGE_SECONDS <= reset - now <= _MAX_WAIT_SECONDS
                self._blocked_until[endpoint] = reset if is_plausible else now + _FALLBACK_WAIT_SECONDS

    def sleep_until(self, unix_second: int) -> None:
        """Sleep until a second begins on the server's clock, but at most 2 seconds.

        Rows are no longer stamped with a second that has passed. A second further ahead comes from a row stamped in
        the future, which is not worth waiting for.
        """
        self._sleep(min(max(0.0, unix_second - self.clock.now()), _MAX_SLEEP_UNTIL_SECONDS))

    def _learn_window(self, endpoint: str, response: requests.Response) -> None:
        """Learn how many requests the endpoint accepts in how many seconds: at the start, the reset is furthest off."""
        limit = _parse_number(response.headers.get("X-Rate-Limit-Limit"))
        reset = _parse_number(response.headers.get("X-Rate-Limit-Reset"))
        if limit is None or reset is None:
            return
        seconds_to_reset = reset - self.clock.now()
        if 0 < seconds_to_reset <= _MAX_WAIT_SECONDS:
            _, seconds = self._windows.get(endpoint, (0, 0))
            self._windows[endpoint] = limit, max(seconds, seconds_to_reset)

    def _count(self) -> None:
        with self._count_lock:
            self.requests_sent += 1

    def _wait(self, endpoint: str) -> None:
        blocked_until = self._blocked_until.get(endpoint, 0)
        seconds = blocked_until - self.clock.now()
        if seconds >= _LOGGED_WAIT_SECONDS:
            name = self._names.get(endpoint, endpoint)
            _logger.info("%s: waiting %.0f s until the rate limit allows the next request", name, seconds)
        if seconds > 0:
            self._sleep(seconds)
            self.throttled_seconds += seconds
        # A response to a request that was already in flight may have announced another time meanwhile.
        if self._blocked_until.get(endpoint) == blocked_until:
            self._blocked_until.pop(endpoint, None)


def _reset_time(response: requests.Response, now: float) -> float | None:
    """Return when the endpoint accepts requests again, in the server's Unix seconds, or None if it does not say."""
    retry_after = response.headers.get("Retry-After", "")
    if (seconds := _parse_number(retry_after)) is not None:
        return now + seconds
    if (date := _parse_http_date(retry_after)) is not None:
        return date
    return _parse_number(response.headers.get("X-Rate-Limit-Reset"))


def _parse_http_date(date: str | None) -> float | None:
    try:
        return parsedate_to_datetime(date or "").timestamp()
    except (OverflowError, TypeError, ValueError):
        return None


def _parse_number(text: str | None) -> float | None:
    try:
        return float(text or "")
    except ValueError:
        return None
