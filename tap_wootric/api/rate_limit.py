"""How fast to ask: as fast as the API allows, and never faster.

Some endpoints are limited per account. Those send `X-Rate-Limit-Limit`, `-Remaining` and `-Reset` (a Unix time)
with each answer; an endpoint that does not is not slowed.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from functools import lru_cache

import requests

logger = logging.getLogger(__name__)

_FALLBACK = 60.0
"""Seconds to wait where a reset makes no sense; the documented limit is one of requests a minute."""
_LONGEST = 3_600.0
"""A wait of more seconds than this makes no sense, and is replaced by the fallback."""
_WORTH_A_LINE = 5.0
_NEAR = 2.0
_DATES = 20
"""How many of the last answers tell the time, so that one with a wrong `Date` does not do so for long."""
_LONG_AGO = 1_388_534_400
"""The beginning of 2014, from which the API is known, in Unix seconds. A `Date` before it is wrong."""
_REFUSED = (requests.codes.too_many_requests, requests.codes.service_unavailable)


class RateLimiter:
    """Keeps the time of the server, and the requests within its limits, for all streams and threads of a tap.

    Waits are measured on the server's clock (the `Date` of its answers), so a wrong clock here does no harm.

    Attributes:
        throttled_seconds: Seconds spent waiting.
    """

    def __init__(self) -> None:
        self._ahead: deque[float] = deque(maxlen=_DATES)
        self._offset: float | None = None
        self._opens: dict[str, float] = {}
        self._limited: set[str] = set()
        self._turns: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
        self.throttled_seconds = 0.0

    def now(self) -> float:
        """Return the server's time in Unix seconds, or ours while no answer has told it.

        A `Date` is cut to the second, so this is up to a second early, never late.
        """
        return time.time() if self._offset is None else time.monotonic() + self._offset

    @contextmanager
    def acquire(self, endpoint: str) -> Iterator[None]:
        """Hold a place for one request to an endpoint, named by its path, and sleep until it takes requests.

        An endpoint with a limit has one place, so that no request is on its way that the last answer did not know of.
        """
        if not self.is_limited(endpoint) and endpoint not in self._opens:
            yield
            return
        with self._turns[endpoint]:
            self._wait(endpoint)
            yield

    def is_limited(self, endpoint: str) -> bool:
        """Return whether an endpoint announced a limit, or refused a request for one."""
        return endpoint in self._limited

    def _wait(self, endpoint: str) -> None:
        opens = self._opens.get(endpoint, 0)
        seconds = opens - self.now()
        if seconds >= _WORTH_A_LINE:
            logger.info("Waiting %.0f seconds, until %s takes requests again", seconds, endpoint)
        if seconds > 0:
            time.sleep(seconds)
            self.throttled_seconds += seconds
        if self._opens.get(endpoint) == opens:  # Else an answer that was on its way told of another time.
            self._opens.pop(endpoint, None)

    def sleep_until(self, second: int) -> None:
        """Sleep until a Unix second of the server begins, if that is near: no row enters a second that is over."""
        time.sleep(min(max(0.0, second - self.now()), _NEAR))

    def update(self, endpoint: str, response: requests.Response) -> None:
        """Learn from an answer what the server's time is, and when the endpoint takes the next request."""
        self._set_clock(response.headers.get("Date"))
        remaining = _number(response.headers.get("X-Rate-Limit-Remaining"))
        if remaining is not None or response.status_code == requests.codes.too_many_requests:
            self._limited.add(endpoint)
        if response.status_code in _REFUSED or (remaining is not None and remaining <= 0):
            now = self.now()
            opens = self._opening(response, now)
            if opens is not None:
                self._opens[endpoint] = opens if -_NEAR <= opens - now <= _LONGEST else now + _FALLBACK

    def _set_clock(self, date: str | None) -> None:
        server = _unix_time(date)
        if server is not None and server > _LONG_AGO:
            self._ahead.append(server - time.monotonic())
            self._offset = max(tuple(self._ahead))

    def _opening(self, response: requests.Response, now: float) -> float | None:
        """Return when the endpoint opens, in the server's Unix seconds, or None where the answer does not tell."""
        after = response.headers.get("Retry-After", "")
        if (seconds := _number(after)) is not None:
            return now + seconds
        opens = _unix_time(after)
        return _number(response.headers.get("X-Rate-Limit-Reset")) if opens is None else opens


@lru_cache(_DATES)
def _unix_time(date: str | None) -> float | None:
    """Return the Unix seconds of an HTTP date, or None where it is none."""
    try:
        return parsedate_to_datetime(date or "").timestamp()
    except (OverflowError, TypeError, ValueError):
        return None


def _number(text: str | None) -> float | None:
    try:
        return float(text or "")
    except ValueError:
        return None
