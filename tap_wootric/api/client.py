"""Sends requests: authenticated, within the rate limits, and again where that may help."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar, cast
from urllib.parse import urlencode

import requests
from requests.exceptions import ChunkedEncodingError, ContentDecodingError
from singer_sdk.exceptions import FatalAPIError, RetriableAPIError

from tap_wootric.api.auth import WootricAuthenticator
from tap_wootric.api.rate_limit import RateLimiter
from tap_wootric.api.responses import safe_message

_P = ParamSpec("_P")
_T = TypeVar("_T")

_logger = logging.getLogger(__name__)

_MAX_ATTEMPTS = 9
_MAX_BACKOFF_SECONDS = 64
"""Nine attempts, with pauses of 2, 4, 8, 16, 32, 64, 64 and 64 seconds between them, span a bit over four minutes."""
_RETRY_BUDGET_SECONDS = 300
"""There is no further attempt after this long, for instance if each attempt takes until its timeout."""
_MIN_ATTEMPTS = 3
"""Attempts made even beyond the budget, since a single wait for a rate limit may exceed it."""
_TRANSIENT_ERRORS = (
    RetriableAPIError,
    requests.ConnectionError,
    requests.Timeout,
    ChunkedEncodingError,
    ContentDecodingError,
)


class Client:
    """Sends the requests of all streams and threads of a tap.

    Args:
        api_url: The API's base URL, without a trailing slash.
        authenticator: Provides the token, and the headers that all requests share.
        rate_limiter: Delays requests, and learns from the responses.
        timeout_seconds: How long to wait for the API to connect, and to send more of its response.
        session_factory: Makes the session of each thread.
        sleep: Sleeps for a number of seconds, between attempts to get a token.

    Attributes:
        url: The API's base URL.
    """

    def __init__(  # noqa: PLR0913 - All are keywords; the last two are for tests.
        self,
        *,
        api_url: str,
        authenticator: WootricAuthenticator,
        rate_limiter: RateLimiter,
        timeout_seconds: int,
        session_factory: Callable[[], requests.Session] = requests.Session,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.url = api_url
        self._authenticator = authenticator
        self._rate_limiter = rate_limiter
        self._timeout_seconds = timeout_seconds
        self._session_factory = session_factory
        self._sleep = sleep
        # Copying a prepared request takes 2 µs; preparing one takes 35 µs.
        self._prepared_request = requests.Request("GET", api_url, headers=authenticator.headers).prepare()
        self._thread_local = threading.local()

    def get(self, path: str, params: Mapping[str, Any]) -> requests.Response:
        """Send a GET request and return the response, whatever its status.

        A 401 replaces the token and repeats the request once: a token may be revoked before it expires (reported).

        Args:
            path: The path, such as `/v1/responses`.
            params: The query parameters, not yet encoded.

        Raises:
            FatalAPIError, RetriableAPIError: There is no token; see `WootricAuthenticator.auth_header`.
            requests.RequestException: There was no response.
        """
        response = self._send(path, params)
        if response.status_code == requests.codes.unauthorized:
            self._authenticator.invalidate(response)
            response = self._send(path, params)
        return response

    def server_time(self) -> int:
        """Return the server's time as a Unix second.

        If no response has told it yet, a token is fetched first, with retries.

        Raises:
            FatalAPIError: No token could be fetched.
        """
        if not self._rate_limiter.clock.is_set:
            with_retries("Access token", self._authenticator.auth_header, sleep=self._sleep)()
        return int(self._rate_limiter.clock.now())

    def is_rate_limited(self, path: str) -> bool:
        """Return whether the API is known to limit requests to a path."""
        return self._rate_limiter.is_limited(path)

    def sleep_until(self, unix_second: int) -> None:
        """Sleep until a second begins on the server's clock; see `RateLimiter.sleep_until`."""
        self._rate_limiter.sleep_until(unix_second)

    @property
    def throttled_seconds(self) -> float:
        """Seconds spent waiting for rate limits so far."""
        return self._rate_limiter.throttled_seconds

    def _send(self, path: str, params: Mapping[str, Any]) -> requests.Response:
        with self._rate_limiter.acquire(path):
            request = self._prepared_request.copy()
            request.url = f"{self.url}{path}?{urlencode(params)}" if params else f"{self.url}{path}"
            request.headers.update(self._authenticator.auth_header())
            response = self._session.send(request, timeout=self._timeout_seconds)
            self._rate_limiter.update(path, response)
        return response

    @property
    def _session(self) -> requests.Session:
        """This thread's session: requests does not promise that threads can share one."""
        if not hasattr(self._thread_local, "session"):
            session = self._session_factory()
            # Look up proxies and certificates in the environment once: for each request it would take 87 µs.
            environment = session.merge_environment_settings(self.url, {}, None, None, None)
            session.proxies, session.verify = environment["proxies"], environment["verify"]
            session.trust_env = False
            self._thread_local.session = session
        return cast("requests.Session", self._thread_local.session)


def with_retries(
    name: str,
    function: Callable[_P, _T],
    *,
    monotonic: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], object] = time.sleep,
) -> Callable[_P, _T]:
    """Return a function that calls another, and calls it again after an error that may pass.

    These are lost connections, timeouts, responses that are cut off or garbled, and RetriableAPIError. There are up to
    nine attempts, with exponential backoff and jitter.

    Args:
        name: Begins the log lines and the final error.
        function: Makes one attempt.
        monotonic: Returns seconds that never jump.
        sleep: Sleeps for a number of seconds.

    Raises:
        FatalAPIError: From the returned function, if no attempt succeeded, or at once for an error that cannot pass.
    """

    def function_with_retries(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        started_at = monotonic()
        attempt = 0
        while True:
            attempt += 1
            try:
                return function(*args, **kwargs)
            except (RetriableAPIError, requests.RequestException) as error:
                elapsed = monotonic() - started_at
                message = f"{name}: {safe_message(error)}"
                if not isinstance(error, _TRANSIENT_ERRORS):
                    raise FatalAPIError(message) from error
                is_over_budget = attempt >= _MIN_ATTEMPTS and elapsed > _RETRY_BUDGET_SECONDS
                if attempt == _MAX_ATTEMPTS or is_over_budget:
                    raise FatalAPIError(f"{message}. Giving up after {elapsed:.0f} s of retries") from error
            pause = min(2**attempt, _MAX_BACKOFF_SECONDS) + random.random()  # noqa: S311 - Jitter, not a secret.
            _logger.warning("%s. Retrying in %.0f s (attempt %d of %d)", message, pause, attempt + 1, _MAX_ATTEMPTS)
            sleep(pause)

    return function_with_retries
