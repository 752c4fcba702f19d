"""Sends requests: authenticated, within the rate limits, and retried after transient errors."""

from __future__ import annotations

import logging
import math
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

import backoff
import requests
from requests.exceptions import ProxyError, SSLError
from singer_sdk.exceptions import FatalAPIError, RetriableAPIError
from urllib3.exceptions import NewConnectionError

from tap_wootric.api.auth import WootricAuthenticator
from tap_wootric.api.rate_limit import RateLimiter
from tap_wootric.api.responses import AccessDeniedError, ApiUnavailableError, causes, safe_message, status_line
from tap_wootric.api.session import Session
from tap_wootric.settings import Settings

_T = TypeVar("_T")

_logger = logging.getLogger(__name__)

_MAX_BACKOFF_SECONDS = 64
_PAUSES_SECONDS_FOR_401 = (0, 0, 1, 2, 4)
"""The pause between getting a token and using it, for each attempt. The first token may have been revoked. If the API
rejects the next one as well, a server may not know it yet, so later tokens are used after a pause."""
_TRANSIENT_ERRORS = (RetriableAPIError, requests.ConnectionError, requests.Timeout)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long to wait for an answer, and how often to try again after a transient error.

    Attributes:
        max_attempts: The most attempts. The pauses between them are 2, 4, 8, 16, 32 and then 64 seconds.
        budget_seconds: No attempt starts after this time, for instance if each one takes until its timeout.
        min_attempts: Attempts made even beyond the budget, since a single wait for a rate limit may exceed it.
        max_connect_seconds: The longest wait for a connection, whatever `request_timeout` is.
        max_read_seconds: The longest wait for more of a response, whatever `request_timeout` is.
    """

    max_attempts: int
    budget_seconds: float
    min_attempts: int
    max_connect_seconds: float = math.inf
    max_read_seconds: float = math.inf


PATIENT = RetryPolicy(max_attempts=9, budget_seconds=300, min_attempts=3)
"""For a sync that nobody watches: a bit over four minutes of pauses."""

HASTY = RetryPolicy(max_attempts=3, budget_seconds=10, min_attempts=1, max_connect_seconds=5, max_read_seconds=15)
"""For a person who is waiting: gives up within 30 seconds if nothing answers, even if a host has several addresses."""


class Client:
    """Sends the requests of all streams of a tap.

    Args:
        settings: The API, and the credentials for it.
        retry_policy: How long to wait, and how often to try again. `request` leaves the latter to its callers.
        rate_limiter: Delays requests, and learns from the responses.
        session: Sends the requests.
        sleep: Sleeps for a number of seconds.
        monotonic: Returns seconds that never jump.
        check: Called before each request, and once a second during a pause. To end them, it raises an exception.

    Attributes:
        authenticator: Provides the token.
        rate_limiter: Delays requests, and learns from the responses.
    """

    def __init__(  # noqa: PLR0913 - All but two are for tests.
        self,
        settings: Settings,
        retry_policy: RetryPolicy = PATIENT,
        *,
        rate_limiter: RateLimiter | None = None,
        session: requests.Session | None = None,
        sleep: Callable[[float], object] = time.sleep,
        monotonic: Callable[[], float] = time.monotonic,
        check: Callable[[], object] = lambda: None,
    ) -> None:
        self._retry_policy = retry_policy
        self.rate_limiter = rate_limiter or RateLimiter(sleep=self._sleep_with_checks)
        self._settings = settings
        self._sleep = sleep
        self._monotonic = monotonic
        self._check = check
        self._session = session or _session(settings)
        self._timeout_seconds = (
            min(settings.request_timeout_seconds, retry_policy.max_connect_seconds),
            min(settings.request_timeout_seconds, retry_policy.max_read_seconds),
        )
        self.authenticator = WootricAuthenticator(settings, self.rate_limiter, self._session, self._timeout_seconds)
        self._has_been_accepted = False
        """Whether any path has been read with a token."""

    def authenticate(self) -> dict[str, str]:
        """Return the `Authorization` header. Unless there is a valid token, one is fetched with retries.

        The response with a token tells the server's time.

        Raises:
            ApiUnavailableError: No token could be fetched, so no path can be read.
        """
        self._check()
        try:
            return self.with_retries("Access token", self.authenticator.auth_header)
        except FatalAPIError as error:
            raise ApiUnavailableError(str(error)) from error

    def request(self, path: str, params: Mapping[str, Any]) -> requests.Response:
        """Send a GET request and return the response, whatever its status, except for 401.

        A 401 replaces the token and repeats the request: a token may be revoked before it expires (measured in 2026). A
        server may also reject a fresh token that it does not know yet, so there are a few attempts.

        Args:
            path: The path, such as `/v1/responses`.
            params: The query parameters, not yet encoded.

        Raises:
            AccessDeniedError: The API rejects one token after another, but has accepted one for another request.
            ApiUnavailableError: The API issues no token, or rejects one token after another.
            requests.RequestException: There was no response.
        """
        for pause_seconds in _PAUSES_SECONDS_FOR_401:
            self._check()
            self.rate_limiter.wait(path)
            headers = self.authenticate()  # After the wait, in which a token may expire.
            self._sleep_with_checks(pause_seconds)
            self.rate_limiter.requests_sent += 1
            response = self._session.get(
                f"{self._settings.api_url}{path}", params=params, headers=headers, timeout=self._timeout_seconds
            )
            self.rate_limiter.learn(path, response)
            self._has_been_accepted |= response.ok
            if response.status_code != requests.codes.unauthorized:
                return response
            self.authenticator.invalidate()
        times = f"{status_line(requests.codes.unauthorized)} for {path}, {len(_PAUSES_SECONDS_FOR_401)} times"
        if self._has_been_accepted:
            raise AccessDeniedError(f"{times} in a row, while other requests are accepted")
        raise ApiUnavailableError(
            f"{urlsplit(self._settings.api_url).netloc} rejects fresh tokens ({times} in a row): check that region "
            "matches the account, or ask Wootric whether the account may use the API"
        )

    def with_retries(self, name: str, function: Callable[[], _T]) -> _T:
        """Call a function, again after each transient error, and return its result.

        These are lost connections, timeouts, and RetriableAPIError. Pauses grow exponentially, with jitter.

        Args:
            name: Begins the log lines and the final error.
            function: Makes one attempt.

        Raises:
            ApiUnavailableError: The API could not be reached.
            FatalAPIError: No attempt succeeded, or an error is not transient.
        """
        policy, started_at = self._retry_policy, self._monotonic()
        pauses = backoff.expo(factor=2, max_value=_MAX_BACKOFF_SECONDS)
        next(pauses)  # The protocol of backoff's generators: the first value is not a pause.
        attempt = 0
        while True:
            attempt += 1
            try:
                return function()
            except (RetriableAPIError, requests.RequestException) as error:
                seconds = self._monotonic() - started_at
                is_over_budget = attempt >= policy.min_attempts and seconds > policy.budget_seconds
                # An invalid certificate stays invalid.
                is_final = any(isinstance(cause, ssl.SSLCertVerificationError) for cause in causes(error))
                is_transient = isinstance(error, _TRANSIENT_ERRORS) and not is_final
                message = f"{name}: {safe_message(error)}"
                if attempt == policy.max_attempts or is_over_budget or not is_transient:
                    if attempt > 1:
                        message += f". Giving up after {seconds:.0f} s of retries"
                    raise (ApiUnavailableError if _concerns_all_paths(error) else FatalAPIError)(message) from error
            pause = backoff.random_jitter(next(pauses))
            _logger.warning(
                "%s. Retrying in %.0f s (attempt %d of %d)", message, pause, attempt + 1, policy.max_attempts
            )
            self._sleep_with_checks(pause)

    def _sleep_with_checks(self, seconds: float) -> None:
        while seconds > 0:
            self._check()
            self._sleep(min(seconds, 1))
            seconds -= 1


def _session(settings: Settings) -> requests.Session:
    """Return a session that uses the environment's proxies and certificates, but no password from `~/.netrc`."""
    session = Session()
    session.headers.update({"Accept": "application/json", "User-Agent": settings.user_agent})
    environment = session.merge_environment_settings(settings.api_url, {}, None, None, None)
    session.proxies, session.verify = environment["proxies"], environment["verify"]
    session.trust_env = False
    return session


def _concerns_all_paths(error: Exception) -> bool:
    """Return whether an error prevents all requests: the host or proxy is unreachable.

    If the API drops a connection or does not answer in time, another path may still work.
    """
    match error:
        case requests.ConnectTimeout() | SSLError() | ProxyError():
            return True
        case requests.ConnectionError():
            return any(isinstance(cause, NewConnectionError) for cause in causes(error))
        case _:
            return not isinstance(error, _TRANSIENT_ERRORS)  # Invalid URLs of the API or of a proxy, for example.
