"""Serves the API over HTTP on localhost, and injects faults."""

from __future__ import annotations

import json
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

from tools.sandbox.account import BEGIN, Account, in_utc
from tools.sandbox.api import CLIENT_ID, CLIENT_SECRET, Answer, Api, Switches, path_of


@dataclass(frozen=True)
class Request:
    method: str
    path: str
    query: dict[str, str]
    form: dict[str, str]
    headers: dict[str, str]
    status: int
    rows: int
    at: float
    """The server's time of the response, in Unix seconds."""


_HTML = "<html><body>Bad gateway</body></html>"
_JSON = {"Content-Type": "application/json; charset=utf-8"}
_ERROR_LIST = '{"type": "error_list", "errors": [{"status": "internal_error", "message": "Oops", "field": null}]}'

FAULTS: dict[str, tuple[int | None, str | None, dict[str, str]]] = {
    "": (None, None, _JSON),
    "reset": (None, None, {}),
    "cut off": (None, None, _JSON),
    "403": (403, _ERROR_LIST, _JSON),
    "404": (404, _ERROR_LIST, _JSON),
    "429": (429, "", {"Retry-After": "1"}),
    "500": (500, _ERROR_LIST, _JSON),
    "502": (502, _HTML, {}),
    "503": (503, _HTML, {"Retry-After": "1"}),
    "504": (504, _HTML, {}),
    "html": (200, _HTML, {"Set-Cookie": f"a=b; max-age={'9' * 400}"}),  # Which Python cannot parse.
    "broken": (200, '[{"id": 1, "text": "secret comment', _JSON),
    "error list": (200, _ERROR_LIST, _JSON),
    "endless": (200, " ", _JSON),
}
"""Faults between the API and the tap: a status, a text and headers that replace the response's."""


class Clock:
    """The server's time: the real time and a skew, or one that only advances by a step at each request."""

    def __init__(self, begin: float | None = None, step: float = 0.2, skew: float = 0) -> None:
        self._now = begin
        self.step = step
        self._skew = skew

    def __call__(self) -> float:
        return time.time() + self._skew if self._now is None else self._now

    def advance(self, seconds: float) -> None:
        if self._now is not None:
            self._now += seconds


class QuietServer(ThreadingHTTPServer):
    """A server that does not complain about clients that go away, as killed ones do."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Sandbox:
    """A server that behaves like Wootric's API for an account; a context manager.

    Args:
        account: The account that is read.
        clock: The server's time.
        switches: How the API behaves.

    Attributes:
        latency: Seconds until a response, for all sandboxes.
        requests_in_progress: The number of requests in progress.
    """

    latency = 0.0

    def __init__(self, account: Account, clock: Clock | None = None, **switches: Any) -> None:
        self.account = account
        self.clock = clock or Clock()
        self.switches = Switches(**switches)
        self.api = Api(account, self.switches, self.clock)
        self.requests: list[Request] = []
        self.fault: Callable[[str, int], str] = lambda _path, _number: ""
        """Returns the fault of the n-th request (from 1) for a path; see `FAULTS`."""
        self.rewrite: Callable[[str], str] = lambda text: text
        """Changes the JSON text of a response, also into text that json.dumps cannot produce."""
        self.requests_in_progress = 0
        self._lock = threading.Lock()
        self._server = QuietServer(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def vanish(self) -> None:
        """Refuse all further connections. Open ones stay open."""
        self._server.socket.close()

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
        return [request for request in self.requests if request.path == path_of(stream)]

    def handle(self, method: str, target: str, body: bytes, headers: dict[str, str]) -> tuple[Answer, str]:
        """Return the response, and the name of its fault."""
        url = urlsplit(target)
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        form = dict(parse_qsl(body.decode()))
        with self._lock:
            self.requests_in_progress += 1
        time.sleep(self.latency)
        with self._lock:
            self.requests_in_progress -= 1
            self.clock.advance(self.clock.step)
            number = sum(request.path == url.path for request in self.requests) + 1
            answer = self.api.answer(method, url.path, query, form, headers.get("authorization", ""))
            fault = self.fault(url.path, number)
            rows = len(answer.content) if isinstance(answer.content, list) and not fault else 0
            self.requests.append(Request(method, url.path, query, form, headers, answer.status, rows, self.clock()))
        return answer, fault


def _handler(sandbox: Sandbox) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 65536  # Bytes: one write per response.

        def do_GET(self) -> None:
            self._answer(b"")

        def do_POST(self) -> None:
            self._answer(self.rfile.read(int(self.headers.get("Content-Length", 0))))

        def _answer(self, body: bytes) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            answer, fault = sandbox.handle(self.command, self.path, body, headers)
            if fault == "reset":
                # Closed with data to come, a connection is reset.
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.close_connection = True
                return
            status, content, more = FAULTS[fault]
            text = sandbox.rewrite(json.dumps(answer.content)) if content is None else content
            self.send_response(status or answer.status)
            for name, value in {**answer.headers, **more}.items():
                self.send_header(name, value)
            body = text.encode("utf-8", "surrogatepass")
            self.send_header("Content-Length", str(2**60 if fault == "endless" else len(body)))
            self.end_headers()
            if fault == "cut off":
                self.close_connection = True
                body = body[: len(body) // 2]
            self.wfile.write(body)
            while fault == "endless":  # Until the tap closes the connection.
                self.wfile.write(body)

        def date_time_string(self, timestamp: float | None = None) -> str:
            moment = sandbox.clock() + sandbox.switches.date_skew if timestamp is None else timestamp
            return sandbox.switches.date or formatdate(moment, usegmt=True)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - The base class's name.
            """Log nothing: `Sandbox.requests` has the requests."""

    return Handler
