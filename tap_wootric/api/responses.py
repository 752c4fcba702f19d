"""Decodes responses, or raises errors worth reading."""

from __future__ import annotations

import contextlib
import http.client
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urljoin, urlsplit

import msgspec
import requests
from requests.exceptions import ChunkedEncodingError, ContentDecodingError, ProxyError
from singer_sdk.exceptions import FatalAPIError, RetriableAPIError

from tap_wootric.api.redact import redact_line
from tap_wootric.records.sanitize import may_contain_nul, parse_number, sanitize

_ACCESS_DENIED_STATUSES = (requests.codes.forbidden, requests.codes.not_found)
_MAX_ERROR_LIST_LENGTH = 200
"""Characters of the API's own error messages that are quoted."""
_JSON_DECODER: msgspec.json.Decoder[Any] = msgspec.json.Decoder(float_hook=parse_number)


class AccessDeniedError(FatalAPIError):
    """The account may not read the requested path, or its API does not have that path."""


class ApiUnavailableError(FatalAPIError):
    """No path can be read: the API refuses the credentials or its own tokens, or it cannot be reached at all."""


def decode_response(response: requests.Response, name: str | None = None) -> Any:
    """Return the decoded JSON of a response.

    Numbers with a fraction are `Decimal`; text that databases reject is replaced, see `records.sanitize`.

    The API reports errors as `{"type": "error_list", "errors": [{"status": …, "message": …}]}` (documented), sometimes
    with status 200 (reported).

    Args:
        response: The response.
        name: What a warning calls it; its path by default.

    Raises:
        AccessDeniedError: Status 403 or 404.
        RetriableAPIError: Status 429, status 500 and above, an error list with status 200, or a body that is not JSON.
        FatalAPIError: Any other status of 400 and above, or a redirect, which is never followed.
    """
    status = response.status_code
    path = urlsplit(response.url).path
    message = f"{status_line(status)} for {path}"
    if response.is_redirect:
        target = urlsplit(urljoin(response.url, response.headers["location"]))
        raise FatalAPIError(f"{message}: the API redirects to {target.scheme}://{target.netloc}; check api_url")
    content = _decode(response.content, name or path)
    is_error_list = isinstance(content, dict) and content.get("type") == "error_list"
    if response.ok and content is not None and not is_error_list:
        return content
    if response.ok and not is_error_list:
        raise RetriableAPIError(f"{message}, but the body is not JSON", response)
    if is_error_list:
        message += f": {_error_list_message(content)}"
    if response.ok or status >= requests.codes.server_error or status == requests.codes.too_many_requests:
        raise RetriableAPIError(message, response)
    raise AccessDeniedError(message) if status in _ACCESS_DENIED_STATUSES else FatalAPIError(message)


def _decode(content: bytes, name: str) -> Any:
    """Return the value of a JSON document, or None if it is not JSON."""
    with contextlib.suppress(msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        value = _JSON_DECODER.decode(content)
        return sanitize(value, name) if may_contain_nul(content) else value
    return sanitize(_decode_leniently(content), name)


def _decode_leniently(content: bytes) -> Any:
    """Return the value of a document that only Python's own parser accepts as JSON, or None.

    It accepts lone surrogates, and NaN and infinities, which become text. So do integers if one of them has more digits
    than Python converts (4,300).
    """
    for parse_int in (int, parse_number):
        with contextlib.suppress(RecursionError, ValueError):
            return json.loads(content, parse_float=parse_number, parse_int=parse_int, parse_constant=str)
    return None


def _error_list_message(content: dict[str, Any]) -> str:
    """Return the messages of an error list, without secrets; the rest of its body may hold a customer's data."""
    listed = content.get("errors")
    errors = [error for error in listed if isinstance(error, dict)] if isinstance(listed, list) else []
    parts = [[error.get("status"), error.get("message")] for error in errors]
    text = "; ".join(": ".join(str(part) for part in error if part) for error in parts)
    return redact_line(text, _MAX_ERROR_LIST_LENGTH) or "error_list"


def status_line(status: int) -> str:
    """Return a status with its standard phrase, such as `404 Not Found`. The server's own phrase may say anything."""
    return f"{status} {http.client.responses.get(status, '')}".rstrip()


def safe_message(error: BaseException) -> str:
    """Return one line about any error, without URL parameters, response bodies or secrets.

    Errors of requests quote whole URLs, so the message is built from their type and the request's host and path. The
    text of any other error is used as it is, so whoever raises one must keep secrets and rows out of it.
    """
    if not isinstance(error, requests.RequestException):
        return " ".join(str(error).split()) or type(error).__name__
    url = urlsplit(error.request.url) if error.request is not None and error.request.url else None
    target = f"{url.scheme}://{url.netloc}{url.path}" if url else "The API"
    match error:
        case ChunkedEncodingError():
            return f"The response was cut off ({_root_cause(error)})"
        case ContentDecodingError():
            return f"The response could not be decompressed ({_root_cause(error)})"
        case ProxyError():
            return f"{target} could not be reached through the proxy ({_root_cause(error)})"
        case requests.Timeout():
            return f"{target} did not answer in time"
        case _:
            return f"{target} could not be reached ({_root_cause(error)})"


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, then what caused it, and so on."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        candidates = (*cause.args, getattr(cause, "reason", None), cause.__cause__, cause.__context__)
        cause = next((candidate for candidate in candidates if isinstance(candidate, BaseException)), None)


def _root_cause(error: BaseException) -> str:
    """Return the innermost cause of a failed request, such as `Connection refused`."""
    *_, root = causes(error)
    return getattr(root, "strerror", None) or type(root).__name__
