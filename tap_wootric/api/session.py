"""Sends requests, and bounds the time and the memory of each response, whatever the server sends."""

from __future__ import annotations

import io
import socket
import time
from http.client import HTTPResponse
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from requests.exceptions import InvalidHeader, InvalidURL
from singer_sdk.exceptions import FatalAPIError, RetriableAPIError
from typing_extensions import override
from urllib3.exceptions import HTTPError, LocationValueError, ReadTimeoutError

from tap_wootric.api.responses import causes

_MAX_TIMEOUTS = 2
"""A response may take this many times as long as the timeout of a single read: it may be slow, but not endless."""
_MAX_BYTES = 16 * 2**20
"""Size of a response, also when decompressed. A page of 50 rows has about 0.03 MB."""
_TOO_LARGE = "A response has more than 16 MB"


class Session(requests.Session):
    """Reads each response to its end, and never follows redirects: they would send the credentials to another host."""

    def __init__(self) -> None:
        super().__init__()
        for scheme in ("https://", "http://"):
            self.mount(scheme, _Adapter())

    @override
    def send(self, request: requests.PreparedRequest, **options: Any) -> requests.Response:
        """Send a request, and return its response.

        Raises:
            FatalAPIError: The response is too large.
            RetriableAPIError: The response is cut off, not valid HTTP, or cannot be decompressed.
            requests.RequestException: There was no response in time.
        """
        body = io.BytesIO()
        try:
            response = super().send(request, **{**options, "stream": True})
            for piece in response.raw.stream(65_536, decode_content=True):  # A few bytes may become gigabytes.
                body.write(piece)
                if body.tell() > _MAX_BYTES:
                    raise FatalAPIError(_TOO_LARGE)
        except ReadTimeoutError as error:
            raise requests.ReadTimeout(error, request=request) from error
        except LocationValueError as error:
            raise InvalidURL(error, request=request) from error
        except (HTTPError, ValueError) as error:  # A ValueError, for instance, for a negative size of a chunk.
            if isinstance(error, requests.RequestException) and not isinstance(error, InvalidHeader):
                raise
            *_, root = causes(error)
            path = request.path_url.partition("?")[0]
            raise RetriableAPIError(f"The response from {path} is broken ({type(root).__name__})") from error
        body.seek(0)
        response.raw = body
        return response

    @override
    def get_redirect_target(self, resp: requests.Response) -> None:
        """Return None. Requests would parse the target even without following it, and fail if it is not a URL."""


class _Adapter(HTTPAdapter):
    """Bounds connections of any kind: with TLS, through proxies, kept alive."""

    @override
    def get_connection_with_tls_context(self, *arguments: Any, **options: Any) -> Any:
        pool: Any = super().get_connection_with_tls_context(*arguments, **options)
        if not issubclass(pool.ConnectionCls, _BoundedConnection):
            pool.ConnectionCls = type("BoundedConnection", (_BoundedConnection, pool.ConnectionCls), {})
        return pool


class _BoundedConnection:
    """What differs from a urllib3 connection."""

    timeout: float

    def response_class(self, sock: socket.socket, *arguments: Any, **options: Any) -> HTTPResponse:
        """Return a response that is about to be read: `http.client` calls it for the API's and for a proxy's."""
        response = HTTPResponse(sock, *arguments, **options)
        response.fp = io.BufferedReader(_BoundedReader(sock, response.fp.detach(), self.timeout))
        return response


class _BoundedReader(io.RawIOBase):
    """The file that status lines, headers and bodies are read from: only here can all reads be seen.

    A socket's timeout applies to each read, so it is shortened as time runs out.
    """

    def __init__(self, sock: socket.socket, file: io.RawIOBase, timeout_seconds: float) -> None:
        self._socket, self._file, self._timeout_seconds = sock, file, timeout_seconds
        self._ends_at = time.monotonic() + _MAX_TIMEOUTS * timeout_seconds
        self._bytes_left = _MAX_BYTES

    @override
    def readable(self) -> bool:
        return True

    @override
    def readinto(self, buffer: Any) -> int | None:
        seconds_left = self._ends_at - time.monotonic()
        if seconds_left <= 0:
            raise TimeoutError
        self._socket.settimeout(min(seconds_left, self._timeout_seconds))
        size = self._file.readinto(buffer)
        self._bytes_left -= size or 0
        if self._bytes_left < 0:
            raise FatalAPIError(_TOO_LARGE)
        return size

    @override
    def close(self) -> None:
        self._file.close()
        super().close()
