"""A clock that only sleeping advances, and an API without a network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from io import BytesIO
from typing import Any

import requests
from requests.adapters import BaseAdapter

from tap_wootric.api.auth import WootricAuthenticator
from tap_wootric.api.rate_limit import RateLimiter, ServerClock

API_URL = "https://api.example.test"
SERVER_TIME = 1_800_000_000
"""Unix seconds, far from the time of any machine that runs the tests."""
LOCAL_TIME = 5.0
CREDENTIALS = {"client_id": "the-id", "client_secret": "the-secret"}


def response(status: int = 200, content: Any = None, headers: Mapping[str, str] | None = None) -> requests.Response:
    """Return a response with JSON content, or with bytes as they are; its `Date` is SERVER_TIME unless given."""
    answer = requests.Response()
    answer.status_code = status
    answer.reason = {200: "OK", 401: "Unauthorized", 429: "Too Many Requests"}.get(status, "Reason")
    answer.url = f"{API_URL}/v1/responses?email=ada%40example.com"
    answer.request = requests.Request("GET", answer.url).prepare()
    answer.headers.update({"Date": formatdate(SERVER_TIME, usegmt=True), **(headers or {})})
    answer.raw = BytesIO(content if isinstance(content, bytes) else json.dumps(content).encode())
    return answer


def token(**fields: object) -> requests.Response:
    """Return a response with a token."""
    return response(content={"access_token": "token-1", "expires_in": 7_200, **fields})


class FakeTime:
    """Time that only sleeping advances."""

    def __init__(self) -> None:
        self.seconds = 1_000.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds += seconds

    def rate_limiter(self) -> RateLimiter:
        return RateLimiter(ServerClock(monotonic=self.monotonic, local_time=lambda: LOCAL_TIME), self.sleep)


@dataclass
class FakeApi(BaseAdapter):
    """Answers each request with the next response, or raises the next error."""

    answers: list[requests.Response | Exception]
    sent: list[requests.PreparedRequest] = field(default_factory=list)
    timeouts: list[Any] = field(default_factory=list)
    proxies: list[dict[str, str]] = field(default_factory=list)
    sessions: int = 0

    def send(self, request: requests.PreparedRequest, *_: Any, **options: Any) -> requests.Response:
        self.sent.append(request)
        self.timeouts.append(options["timeout"])
        self.proxies.append(dict(options["proxies"]))
        answer = self.answers.pop(0)
        if isinstance(answer, requests.RequestException):
            answer.request = request
        if isinstance(answer, Exception):
            raise answer
        answer.request = request
        answer.url = str(request.url)
        return answer

    def close(self) -> None:
        """Nothing is open."""

    def session(self) -> requests.Session:
        self.sessions += 1
        session = requests.Session()
        session.mount("https://", self)
        return session

    def authenticator(
        self, time: FakeTime, rate_limiter: RateLimiter | None = None, **kwargs: Any
    ) -> WootricAuthenticator:
        """Return an authenticator that uses this API."""
        arguments: dict[str, Any] = {
            "api_url": API_URL,
            "credentials": CREDENTIALS,
            "account_token": None,
            "user_agent": "tap-wootric/1.2.3",
            "timeout_seconds": 60,
            "rate_limiter": rate_limiter or time.rate_limiter(),
            "monotonic": time.monotonic,
            "session_factory": self.session,
        }
        return WootricAuthenticator(**{**arguments, **kwargs})
