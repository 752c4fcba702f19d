"""Every exchange ends, in time and in little memory, and a broken one becomes an error that says what happened."""

from __future__ import annotations

import gzip
import os
import socket
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from typing import Any

import pytest
import requests
import urllib3
from requests.exceptions import InvalidURL
from singer_sdk.exceptions import FatalAPIError, RetriableAPIError

from tap_wootric.api.session import Session, _Adapter, _BoundedConnection

URL = "http://api.example.test/v1/responses?email=ada"
HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
GZIP = HEAD + b"Content-Encoding: gzip\r\n\r\n"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The server's end of the next connection."""
    ours, theirs = socket.socketpair()
    monkeypatch.setattr("urllib3.util.connection.create_connection", lambda *_, **__: ours)
    with theirs:
        theirs.setblocking(False)  # noqa: FBT003 - As much is sent as fits.
        yield theirs
    with suppress(OSError):
        os.close(ours.detach())  # Otherwise, failed responses would close it later, with a warning.


def get(server: socket.socket, sent: bytes) -> requests.Response:
    """Send a request, and return what the session makes of all that the server sends."""
    server.send(sent)
    server.shutdown(socket.SHUT_WR)
    return Session().get(URL, timeout=10)


@pytest.mark.parametrize(
    "sent",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n" * 8_000,
        HEAD + (b"X: " + b"a" * 1_000 + b"\r\n") * 90,
        HEAD + b"\r\n" + b" " * 200_000,
        CHUNKED + b"1\r\n \r\n" * 40_000,
        CHUNKED + b"0\r\n" + b"X: a\r\n" * 40_000,
    ],
    ids=["status lines", "headers", "body", "chunks", "trailers"],
)
def test_a_response_may_take_two_timeouts_in_all_and_each_read_only_what_is_left(
    sent: bytes, server: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = count(step=8)
    monkeypatch.setattr(time, "monotonic", lambda: next(ticks))  # Each read takes eight seconds.
    timeouts: list[float | None] = []
    monkeypatch.setattr(socket.socket, "settimeout", lambda _, seconds: timeouts.append(seconds))
    server.send(sent)
    with pytest.raises(requests.ReadTimeout):
        Session().get(URL, timeout=10)
    assert timeouts[-2:] == [10, 4]


def test_connections_of_all_kinds_are_bounded_and_made_only_once() -> None:
    adapter, proxies = _Adapter(), {"https": "http://proxy.example.test:3128"}
    request = requests.Request("GET", "https://api.example.test/").prepare()
    for options in ({}, {"proxies": proxies}):
        pools = [adapter.get_connection_with_tls_context(request, verify=True, **options) for _ in range(2)]
        assert pools[0].ConnectionCls is pools[1].ConnectionCls
        assert issubclass(pools[0].ConnectionCls, _BoundedConnection)
        assert issubclass(pools[0].ConnectionCls, urllib3.connection.HTTPSConnection)


def blanks(megabytes: int) -> bytes:
    return b" " * 2**20 * megabytes


@pytest.mark.parametrize(
    ("encoding", "encode"),
    [
        ("gzip", gzip.compress),
        ("gzip, gzip", lambda body: gzip.compress(gzip.compress(body))),
        ("deflate", zlib.compress),
    ],
)
def test_a_response_of_more_than_16_megabytes_is_refused(encoding: str, encode: Any, server: socket.socket) -> None:
    with pytest.raises(FatalAPIError, match=r"^A response has more than 16 MB$"):
        get(server, HEAD + f"Content-Encoding: {encoding}\r\n\r\n".encode() + encode(blanks(17)))


def test_a_compressed_response_of_16_megabytes_is_read(server: socket.socket) -> None:
    assert len(get(server, GZIP + gzip.compress(blanks(16))).content) == 2**24


@pytest.mark.parametrize(
    ("sent", "error_type", "error"),
    [
        (b"", requests.ConnectionError, "closed connection without response"),
        (HEAD + b"Content-Length: 5\r\n\r\n[", RetriableAPIError, "IncompleteRead"),
        (HEAD + b"Content-Length: 2, 3\r\n\r\n[]", RetriableAPIError, "InvalidHeader"),
        (CHUNKED + b"-5\r\n[]\r\n", RetriableAPIError, "ValueError"),
        (GZIP + b"[]", RetriableAPIError, "error"),
    ],
)
def test_the_kind_of_failure_decides_whether_to_retry(
    sent: bytes, error_type: type[Exception], error: str, server: socket.socket
) -> None:
    with pytest.raises(error_type, match=error) as raised:
        get(server, sent)
    if error_type is RetriableAPIError:
        assert str(raised.value) == f"The response from /v1/responses is broken ({error})"


@pytest.mark.parametrize(
    "header",
    [
        b"garbage",
        b"Location: http://[::1",  # A redirect is neither parsed nor followed.
        b"Location: \xff",
    ],
)
def test_headers_that_make_no_sense_are_ignored(header: bytes, server: socket.socket) -> None:
    assert get(server, b"HTTP/1.1 302 Found\r\n" + header + b"\r\n\r\n[]").content == b"[]"


@pytest.mark.parametrize(("url", "proxy"), [("http://a..b/", ""), (URL, "http://")])
def test_a_url_that_cannot_be_used_is_an_error_of_its_own(url: str, proxy: str) -> None:
    with pytest.raises(InvalidURL):
        Session().get(url, proxies={"http": proxy})
