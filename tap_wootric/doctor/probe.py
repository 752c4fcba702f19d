"""Sends the doctor's requests: few of them, within the API's limits, and with what each answer tells besides rows."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import requests
from singer_sdk.exceptions import FatalAPIError, SingerSDKError

from tap_wootric.api.client import Client
from tap_wootric.api.responses import AccessDeniedError, decode_response, safe_message

_MAX_REQUESTS = 70
"""Most accounts show everything within 60."""
_ATTEMPTS = 2
"""Fewer than the tap's nine: an answer is wanted soon, and what has none is unknown."""
_PAUSE_SECONDS = 1.0
_MAX_SECONDS = 90.0
"""How long to send requests, without the waits for limits."""
_MAX_WAIT_SECONDS = 240.0
"""How long to wait for limits altogether. The documented limit is one per minute."""
_NOTED_WAIT_SECONDS = 2.0
_QUOTE = re.compile(r"( for /\S+): (?!the API redirects).*")
"""The end of a message about a response, which quotes it."""
_REFUSALS = range(requests.codes.multiple_choices, requests.codes.too_many_requests)


class UnansweredError(Exception):
    """There is no usable answer to a question. The message says why, without anything from the answer itself."""


class NotAskedError(UnansweredError):
    """The question was not asked: it would take too long, or too many requests."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A response, as far as it tells anything about the API.

    Attributes:
        content: The JSON, or None if there is a problem.
        problem: Why the response cannot be used; empty if it can.
        status: The HTTP status, or None if there was no response.
        seconds: How long the response took.
        limit: The limit that the endpoint announced, in requests per window.
        remaining: How many requests the endpoint accepts until the reset.
        reset: When the limit is reset, in the server's Unix seconds.
        received: When the response came, by the server's clock.
    """

    content: Any
    problem: str = ""
    status: int | None = None
    seconds: float = 0.0
    limit: int | None = None
    remaining: int | None = None
    reset: int | None = None
    received: int = 0

    @property
    def is_final(self) -> bool:
        """Whether the API refused the request, and would do so again."""
        return self.status is not None and self.status in _REFUSALS


class Patience:
    """Waits for rate limits, up to a total.

    Args:
        report: Is told about longer waits.
        sleep: Sleeps for a number of seconds.
    """

    def __init__(self, report: Callable[[str], None], sleep: Callable[[float], object] = time.sleep) -> None:
        self._report = report
        self._sleep = sleep
        self._left = _MAX_WAIT_SECONDS

    def wait(self, seconds: float) -> None:
        """Wait.

        Raises:
            NotAskedError: It would take too long altogether.
        """
        if seconds > self._left:
            raise NotAskedError("the API's rate limit leaves no request for it")
        if seconds >= _NOTED_WAIT_SECONDS:
            self._report(f"Waiting {seconds:.0f} s for the API's rate limit")
        self._left -= seconds
        self._sleep(seconds)


class Probe:
    """Sends requests, and keeps count of them.

    Args:
        client: Sends a request.
        wait: Waits for a number of seconds until a limit is reset.
        monotonic: Returns seconds that never jump.
        sleep: Sleeps for a number of seconds.

    Attributes:
        requests: How many requests were sent.
    """

    def __init__(
        self,
        client: Client,
        wait: Callable[[float], None],
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.requests = 0
        self._client = client
        self._wait = wait
        self._unavailable = ""
        self._blocked_until = 0
        self._waited = 0.0
        self._monotonic = monotonic
        self._sleep = sleep
        self._started_at = monotonic()

    def ask(self, path: str, params: Mapping[str, Any], *, attempts: int = _ATTEMPTS) -> Answer:
        """Send a request, and another one if the first has no usable response and that may pass.

        Raises:
            NotAskedError: There is no time left for it, or there have been too many requests.
        """
        answer = self._attempt(path, params)
        for _ in range(attempts - 1):
            if not answer.problem or answer.is_final or self._unavailable:
                break
            self._sleep(_PAUSE_SECONDS)
            answer = self._attempt(path, params)
        return answer

    def _attempt(self, path: str, params: Mapping[str, Any]) -> Answer:
        if self._unavailable:
            return Answer(None, self._unavailable)
        # The limiter waits for an endpoint's own limit. Perhaps all endpoints share one.
        if (blocked_seconds := self._blocked_until - self._client.server_time()) > 0:
            self._wait(blocked_seconds)
            self._waited += blocked_seconds
            self._blocked_until = 0
        sent_at, waited = self._monotonic(), self._client.throttled_seconds
        if sent_at - waited - self._waited - self._started_at > _MAX_SECONDS:
            raise NotAskedError("the API is too slow to find it out")
        if self.requests >= _MAX_REQUESTS:
            raise NotAskedError("it would take too many requests")
        self.requests += 1
        try:
            response = self._client.get(path, params)
        except AccessDeniedError as error:
            return Answer(None, plain_message(error), requests.codes.unauthorized)
        except FatalAPIError as error:  # It concerns all paths: there is no token any more.
            self._unavailable = plain_message(error)
            return Answer(None, self._unavailable)
        except (SingerSDKError, requests.RequestException) as error:
            return Answer(None, plain_message(error))
        waited = self._client.throttled_seconds - waited
        answer = self._answer(path, response, self._monotonic() - sent_at - waited)
        if answer.remaining == 0 and answer.reset is not None:
            self._blocked_until = answer.reset
        return answer

    def _answer(self, path: str, response: requests.Response, seconds: float) -> Answer:
        content, problem = None, ""
        try:
            content = decode_response(response)
        except SingerSDKError:  # Its message quotes the API, which may name a customer.
            body = "" if not response.ok else ", but the body is not what it should be"
            problem = f"{response.status_code} for {path}{body}"
        headers = response.headers
        return Answer(
            content,
            problem,
            response.status_code,
            seconds,
            limit=_number(headers.get("X-Rate-Limit-Limit")),
            remaining=_number(headers.get("X-Rate-Limit-Remaining")),
            reset=_number(headers.get("X-Rate-Limit-Reset")),
            received=self._client.server_time(),
        )


def plain_message(error: BaseException) -> str:
    """Return one line about an error, without what the API itself says: it may name a customer or the account."""
    return _QUOTE.sub(r"\1", safe_message(error))


def _number(text: str | None) -> int | None:
    try:
        return int(float(text or ""))
    except (OverflowError, ValueError):
        return None
