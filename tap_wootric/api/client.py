"""Sends requests: authenticated, within the rate limits, and again where that may help."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast
from urllib.parse import urlencode

import backoff
import requests
from requests.exceptions import ChunkedEncodingError, ContentDecodingError
from singer_sdk.exceptions import FatalAPIError, RetriableAPIError

from tap_wootric.api.auth import WootricAuthenticator
from tap_wootric.api.rate_limit import RateLimiter
from tap_wootric.api.responses import safe_message

if TYPE_CHECKING:
    from backoff.types import Details

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

    Attributes:
        url: The API's base URL.
    """

    def __init__(
        self,
        *,
        api_url: str,
        authenticator: WootricAuthenticator,
        rate_limiter: RateLimiter,
        timeout_seconds: int,
        session_factory: Callable[[], requests.Session] = requests.Session,
    ) -> None:
        self.url = api_url
        self._authenticator = authenticator
        self._rate_limiter = rate_limiter
        self._timeout_seconds = timeout_seconds
        self._session_factory = session_factory
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
            FatalAPIError, RetriableAPIError: No token could be fetched; see `WootricAuthenticator.auth_header`.
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
            with_retries("Access token", self._authenticator.auth_header)()
        return int(self._rate_limiter.clock.now())

    def is_rate_limited(self, path: str) -> bool:
        """Return whether the API is known to limit requests to a path."""
        return self._rate_limiter.is_limited(path)

    def sleep_until(self, unix_second: int) -> None:
        """Sleep until a second begins on the server's clock; see `RateLimiter.sleep_until`."""
        self._rate_limiter.sleep_until(unix_second)

    @property
    def requests_sent(self) -> int:
        """The number of requests so far, including those for tokens and those that failed."""
        return self._rate_limiter.requests_sent

    def max_requests_per_second(self, path: str) -> float | None:
        """Return what the API's limit for a path allows, if it is known."""
        return self._rate_limiter.max_requests_per_second(path)

    @property
    def throttled_seconds(self) -> float:
        """Seconds spent waiting for rate limits so far."""
        return self._rate_limiter.throttled_seconds

    def _send(self, path: str, params: Mapping[str, Any]) -> requests.Response:
        with self._rate_limiter.acquire(path):
            request = self._prepared_request.copy()
            request.url = f"{self.url}{path}?{urlencode(params)}" if params else f"{self.url}{path}"
            request.headers.update(self._authenticator.auth_header())
            response = self._session.send(request, timeout=self._timeout_seconds, allow_redirects=False)
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
) -> Callable[_P, _T]:
    """Return a function that calls another, and calls it again after an error that may pass.

    These are lost connections, timeouts, responses that are cut off or garbled, and RetriableAPIError. There are up to
    nine attempts, with exponential backoff and jitter.

    Args:
        name: Begins the log lines and the final error.
        function: Makes one attempt.
        monotonic: Returns seconds that never jump.

    Raises:
        FatalAPIError: From the returned function, if no attempt succeeded, or at once for an error that cannot pass.
    """

    def log_pause(details: Details) -> None:
        _logger.warning(
            "%s: %s. Retrying in %.0f s (attempt %d of %d)",
            name,
            safe_message(details["exception"]),
            details["wait"],
            details["tries"] + 1,
            _MAX_ATTEMPTS,
        )

    def function_with_retries(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        started_at = monotonic()
        attempts = 0

        def attempt() -> _T:
            nonlocal attempts
            attempts += 1
            return function(*args, **kwargs)

        try:
            return backoff.on_exception(
                backoff.expo,
                _TRANSIENT_ERRORS,
                max_tries=_MAX_ATTEMPTS,
                giveup=lambda _: attempts >= _MIN_ATTEMPTS and monotonic() - started_at > _RETRY_BUDGET_SECONDS,
                jitter=backoff.random_jitter,
                on_backoff=log_pause,
                logger=None,  # It would log URLs with their parameters.
                factor=2,
                max_value=_MAX_BACKOFF_SECONDS,
            )(attempt)()
        except (RetriableAPIError, requests.RequestException) as error:
            message = f"{name}: {safe_message(error)}"
            if isinstance(error, _TRANSIENT_ERRORS):
                message += f". Giving up after {monotonic() - started_at:.0f} s of retries"
            raise FatalAPIError(message) from error

    return function_with_retries
