"""One request: sent, paced, and sent again where that may help."""

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

_TRIES = 9
_LONGEST_PAUSE = 64
"""Seconds. Between nine tries lie pauses of 2, 4, 8, 16, 32, 64, 64 and 64: a bit over four minutes."""
_LONGEST_TROUBLE = 300
"""Seconds after which there is no further try, where answers or waits took long."""
_LEAST_TRIES = 3
"""The tries that there are all the same: a long wait for a limit is no trouble."""
_MAY_PASS = (RetriableAPIError, requests.ConnectionError, requests.Timeout, ChunkedEncodingError, ContentDecodingError)


class Client:
    """Sends the requests of all streams and threads of a tap.

    Args:
        api_url: The API's base URL, without a slash at its end.
        authenticator: Gives the token.
        rate_limiter: Gives the pace, and learns from the answers.
        timeout_seconds: How long to wait for an answer.

    Attributes:
        url: The API's base URL, without a slash at its end.
    """

    def __init__(
        self,
        *,
        api_url: str,
        authenticator: WootricAuthenticator,
        rate_limiter: RateLimiter,
        timeout_seconds: float,
    ) -> None:
        self._authenticator = authenticator
        self._rate_limiter = rate_limiter
        self.url = api_url
        self._timeout = timeout_seconds
        # What all requests have in common: to put it together costs as much as to send it.
        self._prepared = requests.Request("GET", self.url, headers=authenticator.headers).prepare()
        self._in_thread = threading.local()

    def get(self, path: str, params: Mapping[str, Any]) -> requests.Response:
        """Return what the API answers; a token that it refuses is replaced once."""
        response = self._send(path, params)
        if response.status_code == requests.codes.unauthorized:
            self._authenticator.invalidate(response)
            response = self._send(path, params)
        return response

    def server_time(self) -> int:
        """Return the server's Unix second, which the answer with the token tells if no other did."""
        self._authenticator.auth_header()
        return int(self._rate_limiter.now())

    def is_rate_limited(self, path: str) -> bool:
        """Return whether an endpoint announced a limit, or refused a request for one."""
        return self._rate_limiter.is_limited(path)

    def sleep_until(self, unix_second: int) -> None:
        """Sleep until a Unix second of the server begins, if that is near."""
        self._rate_limiter.sleep_until(unix_second)

    @property
    def throttled_seconds(self) -> float:
        """Seconds spent waiting for the rate limit."""
        return self._rate_limiter.throttled_seconds

    def _send(self, path: str, params: Mapping[str, Any]) -> requests.Response:
        with self._rate_limiter.acquire(path):
            request = self._prepared.copy()
            request.url = f"{self.url}{path}?{urlencode(params)}" if params else f"{self.url}{path}"
            request.headers.update(self._authenticator.auth_header())
            response = self._session.send(request, timeout=self._timeout)
            self._rate_limiter.update(path, response)
        return response

    @property
    def _session(self) -> requests.Session:
        """The thread's own session: that one can be shared is not promised.

        What requests looks up in the environment for each request anew, proxies and certificates, is looked up once.
        """
        if not hasattr(self._in_thread, "session"):
            session = requests.Session()
            found = session.merge_environment_settings(self.url, {}, None, None, None)
            session.proxies, session.verify, session.trust_env = found["proxies"], found["verify"], False
            self._in_thread.session = session
        return cast("requests.Session", self._in_thread.session)


def with_retries(name: str, ask: Callable[_P, _T]) -> Callable[_P, _T]:
    """Return a function that asks again, after a pause, where that may help.

    Args:
        name: What is asked for, for the log.
        ask: Asks once.

    Raises:
        FatalAPIError: From the function, where none of the tries helped.
    """

    def log_pause(details: Details) -> None:
        reason, following = safe_message(details["exception"]), details["tries"] + 1
        _logger.warning(
            "%s: %s. Trying again in %.0f seconds (try %d of %d)", name, reason, details["wait"], following, _TRIES
        )

    def asked(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        begun, tries = time.monotonic(), 0

        def attempt() -> _T:
            nonlocal tries
            tries += 1
            return ask(*args, **kwargs)

        try:
            return backoff.on_exception(
                backoff.expo,
                _MAY_PASS,
                max_tries=_TRIES,
                giveup=lambda _: tries >= _LEAST_TRIES and time.monotonic() - begun > _LONGEST_TROUBLE,
                jitter=backoff.random_jitter,
                on_backoff=log_pause,
                logger=None,  # It would log the parameters, and a URL.
                factor=2,
                max_value=_LONGEST_PAUSE,
            )(attempt)()
        except (RetriableAPIError, requests.RequestException) as error:
            seconds = time.monotonic() - begun
            raise FatalAPIError(
                f"{name}: {safe_message(error)}. Gave up after trying again for {seconds:.0f} seconds"
            ) from error

    return asked
