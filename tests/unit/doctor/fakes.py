"""The sandbox's API without a network, and a doctor that examines it."""

from __future__ import annotations

import time
from collections.abc import Callable
from email.utils import formatdate
from io import BytesIO
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec
import requests
from requests.adapters import BaseAdapter

from tap_wootric.doctor.probe import ListProbe, Probe
from tap_wootric.doctor.report import Check
from tap_wootric.streams.lists import ListStream
from tap_wootric.tap import TapWootric
from tools.sandbox.account import Account
from tools.sandbox.api import CLIENT_ID, CLIENT_SECRET, Answer, Api, Switches

CONFIG = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET, "api_url": "https://api.example.test"}


class FakeServer(BaseAdapter):
    """Answers requests as the sandbox does, on a clock that only waiting for limits advances.

    Attributes:
        ahead: Seconds by which its clock is ahead.
        account: The account that it serves.
        paths: The paths of the requests so far.
        answers: What to answer for a path instead: a status and content, or an error to raise.
    """

    def __init__(self, account: Account, **switches: Any) -> None:
        super().__init__()
        self.ahead = 0.0
        self.paths: list[str] = []
        self.answers: dict[str, tuple[int, Any] | Exception] = {}
        self.account = account
        self._api = Api(account, Switches(**switches), lambda: self.now)

    def send(self, request: requests.PreparedRequest, **_options: Any) -> requests.Response:  # type: ignore[override]
        url = urlsplit(str(request.url))
        self.paths.append(url.path)
        other = self.answers.get(url.path)
        if isinstance(other, Exception):
            raise other
        query, form = (dict(parse_qsl(str(text or ""))) for text in (url.query, request.body))
        authorization = request.headers.get("Authorization", "")
        answer = self._api.answer(str(request.method), url.path, query, form, authorization)
        answer = Answer(*other) if other else answer
        response = requests.Response()
        response.status_code, response.reason = answer.status, "Reason"
        response.request, response.url = request, str(request.url)
        response.headers.update({"Date": formatdate(self.now, usegmt=True), **answer.headers})
        content = answer.content if isinstance(answer.content, bytes) else msgspec.json.encode(answer.content)
        response.raw = BytesIO(content)
        return response

    def close(self) -> None:
        """Nothing is open."""

    @property
    def now(self) -> float:
        return time.time() + self.ahead

    def wait(self, seconds: float) -> None:
        self.ahead += seconds

    def probe(self, tap: TapWootric, report_progress: Callable[[str], object] = str) -> Probe:
        """Return the client of a tap, which sends its requests to this server."""
        session = requests.Session()
        session.mount("https://", self)
        tap.client = Probe(tap.settings, report_progress, session=session, sleep=self.wait)
        return tap.client


def listed(server: FakeServer, name: str = "responses", **settings: Any) -> ListProbe:
    """Return a list of the API."""
    tap = TapWootric(config={**CONFIG, **settings})
    probe = server.probe(tap)
    probe.authenticate()
    stream = next(stream for stream in tap.discover_streams() if stream.name == name)
    assert isinstance(stream, ListStream)
    return ListProbe(probe, stream)


def account(rows: int) -> Account:
    """Return an account with so many rows in each list."""
    return Account(rows, rows, declines=rows)


def by_id(checks: list[Check]) -> dict[str, Check]:
    return {check.id: check for check in checks}
