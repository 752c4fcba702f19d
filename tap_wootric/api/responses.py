"""Decodes responses, or raises errors worth reading."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
from collections.abc import Iterator
from itertools import accumulate
from typing import Any
from urllib.parse import urlsplit

import msgspec
import requests
from requests.exceptions import ProxyError
from singer_sdk.exceptions import FatalAPIError, RetriableAPIError

from tap_wootric.api.rate_limit import is_busy
from tap_wootric.api.redact import redact_line
from tap_wootric.records.sanitize import parse_number, sanitize

_ACCESS_DENIED_STATUSES = (requests.codes.forbidden, requests.codes.not_found)
_MAX_ERROR_LIST_LENGTH = 200
"""Characters of the API's own error messages that are quoted."""
_HOST = re.compile(r"https?://[^/?#\s]{0,100}", re.IGNORECASE)
_MAX_DEPTH = 250
"""Levels of nesting in JSON. More would overflow the 128 kB stack of a thread with musl. Ruby writes at most 100."""
_MAX_SEPARATORS = 500_000
"""Brackets and commas in JSON. A page has about 2,000. A few bytes of JSON can become a kilobyte in memory."""
_NO_STRUCTURE = bytes(set(range(256)) - {*b'"[]{},'})
_STEPS = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1, ord(","): 0}
_ESCAPED_NUL = b"\\u0000"
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
        RetriableAPIError: The API is busy (see `is_busy`); or status 201 to 299, status 500 and above, an error list
            with status 200, or a body that is not JSON.
        FatalAPIError: Any other status of 400 and above, a redirect, which is never followed, or JSON that is too
            complex.
    """
    status, path = response.status_code, urlsplit(response.url).path
    message = f"{status_line(status)} for {path}"
    if requests.codes.multiple_choices <= status < requests.codes.bad_request:
        host = _HOST.match(response.headers.get("Location", ""))  # Not every location can be parsed as a URL.
        raise FatalAPIError(f"{message}: the API redirects{f' to {host[0]}' if host else ''}; check api_url")
    is_success = status == requests.codes.ok  # Any other one below 400 may come without the rows.
    is_too_complex = _is_too_complex(response.content)
    if is_success and is_too_complex:
        raise FatalAPIError(f"{message}, but its JSON has more than {_MAX_DEPTH} levels or too many values for a page")
    content: Any = None if is_too_complex else _decode(response.content, name or path)
    is_error_list = isinstance(content, dict) and content.get("type") == "error_list"
    if is_success and not is_error_list:
        if content is None:
            raise RetriableAPIError(f"{message}, but the body is not JSON", response)
        return content
    if is_error_list:
        message += f": {_error_list_message(content)}"
    if response.ok or status >= requests.codes.server_error or is_busy(response):
        raise RetriableAPIError(message, response)
    raise AccessDeniedError(message) if status in _ACCESS_DENIED_STATUSES else FatalAPIError(message)


def _is_too_complex(content: bytes) -> bool:
    """Return whether JSON needs too deep a stack or too much memory. It takes 0.2 ms for a page.

    The limits that parsers have for the depth are too high for small stacks, and differ between versions of Python.
    """
    if not content.lstrip(b" \t\r\n\xef\xbb\xbf").startswith((b"[", b"{")):  # HTML, for instance.
        return False
    no_escapes = content.replace(b"\\\\", b"").replace(b'\\"', b"").translate(None, _NO_STRUCTURE)
    structure = b"".join(no_escapes.replace(b'""', b"").split(b'"')[::2])  # Without text.
    if len(structure) > _MAX_SEPARATORS:
        return True
    return max(accumulate(map(_STEPS.__getitem__, structure))) > _MAX_DEPTH


def _decode(content: bytes, name: str) -> Any:
    """Return the value of a JSON document, or None if it is not JSON."""
    with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
        value = _JSON_DECODER.decode(content)
        return sanitize(value, name) if _ESCAPED_NUL in content else value
    return sanitize(_decode_leniently(content), name)


def _decode_leniently(content: bytes) -> Any:
    """Return the value of a document that only Python's own parser accepts as JSON, or None.

    It accepts lone surrogates, and NaN and infinities, which become text. Integers become `Decimal`, too, or
    text if they are longer than Python reads.
    """
    with contextlib.suppress(ValueError):
        text = content.decode("utf-8-sig", "surrogatepass")
        return json.loads(text, parse_float=parse_number, parse_int=parse_number, parse_constant=str)
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
