"""Clocks that only sleeping advances, and an API without a network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from io import BytesIO
from typing import Any

import requests
import urllib3
from requests.adapters import BaseAdapter

from tap_wootric.api.auth import WootricAuthenticator
from tap_wootric.api.rate_limit import Clock, RateLimiter
from tap_wootric.api.session import Session
from tap_wootric.settings import Settings

API_URL = "https://api.example.test"
SERVER_TIME = 1_800_000_000
"""Unix seconds: 2027-01-15T08:00:00Z."""
SETTINGS = Settings(
    api_url=API_URL,
    credentials={"client_id": "the-id", "client_secret": "the-secret"},
    account_token=None,
    start_date=None,
    lookback_seconds=300,
    recheck_days=30,
    request_timeout_seconds=60,
    user_agent="tap-wootric/1.2.3",
)


def response(status: int = 200, content: Any = None, headers: Mapping[str, str] | None = None) -> requests.Response:
    """Return a response with JSON content, or with bytes as they are; its `Date` is SERVER_TIME unless given."""
    answer = requests.Response()
    answer.status_code = status
    answer.reason = "The server's own words"
    answer.url = f"{API_URL}/v1/responses?email=ada%40example.com"
    answer.request = requests.Request("GET", answer.url).prepare()
    answer.headers.update({"Date": formatdate(SERVER_TIME, usegmt=True), **(headers or {})})
    answer.raw = BytesIO(content if isinstance(content, bytes) else json.dumps(content).encode())
    return answer


def token(**fields: object) -> requests.Response:
    """Return a response with a token."""
    return response(content={"access_token": "token-1", "expires_in": 7_200, **fields})


class FakeTime:
    """Time that only sleeping advances.

    Args:
        local_time: The Unix second by this machine's clock.
    """

    def __init__(self, local_time: float = SERVER_TIME) -> None:
        self.seconds = 1_000.0
        self.slept: list[float] = []
        self._local_offset = local_time - self.seconds

    def monotonic(self) -> float:
        return self.seconds

    def local_time(self) -> float:
        return self.seconds + self._local_offset

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds += seconds

    def clock(self) -> Clock:
        return Clock(monotonic=self.monotonic, local_time=self.local_time)

    def rate_limiter(self) -> RateLimiter:
        return RateLimiter(self.clock(), self.sleep)


@dataclass
class FakeApi(BaseAdapter):
    """Answers each request with the next response, or raises the next error.

    Attributes:
        answers: The responses and errors that are left.
        sent: The requests.
        options: How each was sent: its timeout, proxies and certificates.
    """

    answers: list[requests.Response | Exception]
    sent: list[requests.PreparedRequest] = field(default_factory=list)
    options: list[dict[str, Any]] = field(default_factory=list)

    def send(self, request: requests.PreparedRequest, *_: Any, **options: Any) -> requests.Response:
        self.sent.append(request)
        self.options.append(options)
        answer = self.answers.pop(0)
        if isinstance(answer, requests.RequestException):
            answer.request = request
        if isinstance(answer, Exception):
            raise answer
        answer.request = request
        answer.url = str(request.url)
        answer.raw = urllib3.HTTPResponse(BytesIO(answer.content), preload_content=False)
        return answer

    def close(self) -> None:
        """Nothing is open."""

    def session(self) -> Session:
        session = Session()
        session.mount("https://", self)
        return session

    def authenticator(self, time: FakeTime, **settings: Any) -> WootricAuthenticator:
        """Return an authenticator that uses this API."""
        return WootricAuthenticator(
            replace(SETTINGS, **settings), time.rate_limiter(), self.session(), (5, 60), time.monotonic
        )
