"""Sends requests whose responses end: in time and in little memory, whatever a server sends."""

from __future__ import annotations

import io
import socket
import time
from http.client import HTTPException, HTTPResponse
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.exceptions import ChunkedEncodingError, ContentDecodingError, InvalidHeader, InvalidURL, ProxyError
from singer_sdk.exceptions import FatalAPIError, RetriableAPIError
from typing_extensions import override
from urllib3.exceptions import DecodeError, HTTPError, LocationValueError, ProtocolError, ReadTimeoutError

from tap_wootric.api.responses import causes

_MAX_TIMEOUTS = 2
"""A response may take this many times as long as the timeout of a single read: slow, but not for ever."""
_MAX_MEGABYTES = 16
"""A page of 50 rows has about 0.03 MB."""
_MAX_BYTES = _MAX_MEGABYTES * 2**20
_PIECE_BYTES = 65_536


class _TooLargeError(Exception):
    """A response is larger than any that the tap could need."""


class Session(requests.Session):
    """Sends requests, and reads each response to its end.

    A response takes at most two times the read timeout: a server that sends a byte now and then would meet a timeout
    for each read for ever. It has at most 16 MB, on the wire as well as decompressed. Redirects are never followed:
    they would send the credentials to another host.
    """

    def __init__(self) -> None:
        super().__init__()
        for scheme in ("https://", "http://"):
            self.mount(scheme, _Adapter())

    @override
    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        """Send a request, and return its response.

        Raises:
            FatalAPIError: The response is too large.
            RetriableAPIError: The response is not valid HTTP.
            requests.RequestException: There was no response, or not all of it.
        """
        path = request.path_url.partition("?")[0]
        try:
            response = super().send(request, **{**options, "stream": True})
            response.raw = _read(response.raw)
        except _TooLargeError as error:
            raise FatalAPIError(f"The response of {path} has more than {_MAX_MEGABYTES} MB") from error
        except ReadTimeoutError as error:
            raise requests.ReadTimeout(error, request=request) from error
        except DecodeError as error:
            raise ContentDecodingError(error, request=request) from error
        except ProtocolError as error:
            raise ChunkedEncodingError(error, request=request) from error
        except LocationValueError as error:
            raise InvalidURL(error, request=request) from error
        except (HTTPError, ValueError, requests.ConnectionError) as error:
            if not _is_invalid_http(error):
                raise
            *_, root = causes(error)
            raise RetriableAPIError(f"The response of {path} is not valid HTTP ({type(root).__name__})") from error
        return response

    @override
    def get_redirect_target(self, resp: requests.Response) -> None:
        """Return None. Requests would parse the target even if it does not follow it, and fail if it is no URL."""


def _is_invalid_http(error: Exception) -> bool:
    """Return whether an error is due to what a server sent, rather than to a lost connection, a proxy or a URL."""
    match error:
        case requests.ConnectionError() if not isinstance(error, ProxyError):
            return any(isinstance(cause, HTTPException) and not isinstance(cause, OSError) for cause in causes(error))
        case requests.RequestException():
            return isinstance(error, InvalidHeader)
        case _:  # For instance, a ValueError for a negative size of a chunk.
            return True


def _read(raw: urllib3.HTTPResponse) -> io.BytesIO:
    """Return the decompressed body of a response as a file.

    It is read in pieces, because a few bytes can be decompressed to gigabytes.
    """
    body = io.BytesIO()
    for piece in raw.stream(_PIECE_BYTES, decode_content=True):
        body.write(piece)
        if body.tell() > _MAX_BYTES:
            raw.close()
            raise _TooLargeError
    body.seek(0)
    return body


class _Adapter(HTTPAdapter):
    """Reads responses with `_BoundedReader`, over any kind of connection: TLS, through proxies, kept alive."""

    @override
    def get_connection_with_tls_context(self, *arguments: Any, **options: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*arguments, **options)
        if not issubclass(pool.ConnectionCls, _BoundedConnection):
            pool.ConnectionCls = type("BoundedConnection", (_BoundedConnection, pool.ConnectionCls), {})
        return pool


class _BoundedConnection:
    """Part of a connection of urllib3, to a server or through a proxy.

    Attributes:
        timeout: How long to wait for more of a response, in seconds; while it connects, how long to wait for that.
    """

    timeout: float

    def response_class(self, sock: socket.socket, *arguments: Any, **options: Any) -> HTTPResponse:
        """Return a response that is about to be read. `http.client` calls it, for the answers of proxies as well."""
        response = HTTPResponse(sock, *arguments, **options)
        response.fp = io.BufferedReader(_BoundedReader(sock, response.fp.detach(), self.timeout))
        return response


class _BoundedReader(io.RawIOBase):
    """The file that a response is read from: its status line, headers and body.

    A timeout of a socket is for each read, so it is shortened as time runs out. This is the only place that sees all
    reads: http.client reads the head at once, in as many reads as a server likes to send it.
    """

    def __init__(self, sock: socket.socket, file: io.RawIOBase, timeout_seconds: float) -> None:
        self._socket = sock
        self._file = file
        self._timeout_seconds = timeout_seconds
        self._ends_at = time.monotonic() + _MAX_TIMEOUTS * timeout_seconds
        self._bytes_left = _MAX_BYTES

    @override
    def readable(self) -> bool:
        return True

    @override
    def readinto(self, buffer: Any) -> int | None:
        seconds_left = self._ends_at - time.monotonic()
        if seconds_left <= 0:
            raise TimeoutError("timed out")
        self._socket.settimeout(min(seconds_left, self._timeout_seconds))
        size = self._file.readinto(buffer)
        self._bytes_left -= size or 0
        if self._bytes_left < 0:
            raise _TooLargeError
        return size

    @override
    def close(self) -> None:
        self._file.close()
        super().close()
