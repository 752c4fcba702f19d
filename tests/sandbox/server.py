"""The API on a port of loopback."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

from tests.sandbox.account import BEGIN, Account, in_utc
from tests.sandbox.api import CLIENT_ID, CLIENT_SECRET, Api, Switches


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    status: int
    rows: int


class Clock:
    """The server's time: the real one, or one that stands still but for a step at each request."""

    def __init__(self, begin: float | None = None, step: float = 0.2) -> None:
        self._now = begin
        self._step = step

    def __call__(self) -> float:
        return time.time() if self._now is None else self._now

    def tick(self) -> None:
        self.advance(self._step)

    def advance(self, seconds: float) -> None:
        if self._now is not None:
            self._now += seconds


class Sandbox:
    """A server that answers as Wootric's API does, from an account; a context manager.

    Args:
        account: The account that is read.
        clock: The server's time.
        switches: How the API behaves.
    """

    def __init__(self, account: Account, clock: Clock | None = None, **switches: Any) -> None:
        self.account = account
        self.clock = clock or Clock()
        self.switches = Switches(**switches)
        self.api = Api(account, self.switches, self.clock)
        self.requests: list[Request] = []
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def config(self) -> dict[str, str]:
        """The tap's settings for this account."""
        return {
            "api_url": self.url,
            "client_id": CLIENT_ID,
            "client_secret": CLIENT_SECRET,
            "start_date": in_utc(BEGIN),
        }

    def pages(self, stream: str) -> list[Request]:
        """The requests for pages of a stream."""
        return [request for request in self.requests if request.path == f"/v1/{stream}"]

    def handle(self, method: str, target: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        url = urlsplit(target)
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        form = dict(parse_qsl(body.decode()))
        with self._lock:
            self.clock.tick()
            status, answer = self.api.answer(method, url.path, query, form, headers.get("authorization", ""))
            rows = len(answer) if isinstance(answer, list) else 0
            self.requests.append(Request(method, url.path, query, headers, status, rows))
        return status, json.dumps(answer).encode()


def _handler(sandbox: Sandbox) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 65536  # One write an answer.

        def do_GET(self) -> None:
            self._answer(b"")

        def do_POST(self) -> None:
            self._answer(self.rfile.read(int(self.headers.get("Content-Length", 0))))

        def _answer(self, body: bytes) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, answer = sandbox.handle(self.command, self.path, body, headers)
            self.send_response(status)
            self.send_header("Content-Type", "application/json; charset=utf-8")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def date_time_string(self, timestamp: float | None = None) -> str:
            return formatdate(sandbox.clock() if timestamp is None else timestamp, usegmt=True)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - The base class's name.
            """Say nothing: what is asked is in `requests`."""

    return Handler
