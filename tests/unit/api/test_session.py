"""Every exchange ends, in time and in little memory, and a broken one becomes an error that says what happened."""

from __future__ import annotations

import gzip
import socket
import time
import zlib
from collections.abc import Iterator
from io import BytesIO
from itertools import count
from typing import Any

import pytest
import requests
import urllib3
from requests.exceptions import InvalidURL
from singer_sdk.exceptions import FatalAPIError, RetriableAPIError
from urllib3.exceptions import DecodeError, InvalidHeader, LocationParseError, ProtocolError, ReadTimeoutError

from tap_wootric.api.session import _Adapter, _BoundedConnection
from tests.unit.api.fakes import API_URL, FakeApi, response

URL = f"{API_URL}/v1/responses?email=ada"


@pytest.fixture
def sockets() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def connection(timeout: float) -> _BoundedConnection:
    opened = _BoundedConnection()
    opened.timeout = timeout
    return opened


HEAD = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n" * 8_000,
        HEAD + (b"X: " + b"a" * 1_000 + b"\r\n") * 90,
        HEAD + b"\r\n" + b" " * 200_000,
    ],
    ids=["status lines", "headers", "body"],
)
def test_a_response_may_take_two_timeouts_in_all_and_each_read_only_what_is_left(
    sent: bytes, sockets: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = sockets
    theirs.setblocking(False)  # noqa: FBT003 - As much is sent as fits.
    theirs.send(sent)
    ticks = count(step=8)
    monkeypatch.setattr(time, "monotonic", lambda: next(ticks))  # Each read takes eight seconds.
    reading = connection(timeout=10).response_class(ours)
    timeouts: list[float | None] = []
    monkeypatch.setattr(socket.socket, "settimeout", lambda _, seconds: timeouts.append(seconds))
    with pytest.raises(TimeoutError):  # noqa: PT012 - Either may raise it.
        reading.begin()
        reading.read()
    assert timeouts == [10, 4]


def test_connections_of_all_kinds_are_bounded_and_made_only_once() -> None:
    adapter, proxies = _Adapter(), {"https": "http://proxy.example.test:3128"}
    request = requests.Request("GET", URL).prepare()
    for options in ({}, {"proxies": proxies}):
        pools = [adapter.get_connection_with_tls_context(request, verify=True, **options) for _ in range(2)]
        assert pools[0].ConnectionCls is pools[1].ConnectionCls
        assert issubclass(pools[0].ConnectionCls, _BoundedConnection)
        assert issubclass(pools[0].ConnectionCls, urllib3.connection.HTTPSConnection)


class RawApi(FakeApi):
    """Answers with the raw response, or raises the error, that it has for any request."""

    def __init__(self, body: bytes | Exception, encoding: str = "") -> None:
        super().__init__([])
        self._body = body
        self._encoding = encoding

    def send(self, request: requests.PreparedRequest, *_: Any, **_options: Any) -> requests.Response:
        if isinstance(self._body, Exception):
            raise self._body
        answer = response(302, headers={"Location": "http://[::1"})
        answer.request = request
        headers = {"Content-Encoding": self._encoding}
        answer.raw = urllib3.HTTPResponse(BytesIO(self._body), headers, preload_content=False)
        return answer


def bomb(megabytes: int) -> bytes:
    return gzip.compress(b" " * 2**20 * megabytes)


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (b" " * (2**24 + 1), ""),
        (bomb(17), "gzip"),
        (gzip.compress(bomb(17)), "gzip, gzip"),
        (zlib.compress(b" " * 2**25), "deflate"),
    ],
    ids=["plain", "gzip", "gzip twice", "deflate"],
)
def test_a_response_of_more_than_16_megabytes_is_refused(body: bytes, encoding: str) -> None:
    with pytest.raises(FatalAPIError, match=r"^A response has more than 16 MB$"):
        RawApi(body, encoding).session().get(URL)


def test_a_compressed_response_of_16_megabytes_is_read_and_a_redirect_is_neither_parsed_nor_followed() -> None:
    answer = RawApi(bomb(16), "gzip").session().get(URL)
    assert (len(answer.content), answer.status_code) == (2**24, 302)


@pytest.mark.parametrize(
    ("error", "error_type"),
    [
        (ReadTimeoutError(None, "", "Read timed out."), requests.ReadTimeout),  # type: ignore[arg-type]
        (LocationParseError("a..b"), InvalidURL),
        (InvalidURL("a..b"), InvalidURL),
        (requests.ConnectionError(ConnectionResetError()), requests.ConnectionError),
        (ProtocolError("Connection broken"), RetriableAPIError),
        (DecodeError("not gzip"), RetriableAPIError),
        (requests.exceptions.InvalidHeader(), RetriableAPIError),
        (InvalidHeader(), RetriableAPIError),
        (ValueError("read length must be non-negative or -1"), RetriableAPIError),
    ],
    ids=repr,
)
def test_what_is_wrong_with_an_exchange_decides_whether_another_attempt_may_work(
    error: Exception, error_type: type[Exception]
) -> None:
    with pytest.raises(error_type) as raised:
        RawApi(error).session().get(URL)
    assert type(raised.value) is error_type
    if error_type is RetriableAPIError:
        assert str(raised.value) == f"The response of /v1/responses is broken ({type(error).__name__})"
