"""What an answer of the API says: JSON, or an error worth reading."""

from __future__ import annotations

import contextlib
import json
import re
from typing import Any
from urllib.parse import urlsplit

import msgspec
import requests
from singer_sdk.exceptions import FatalAPIError, RetriableAPIError

from tap_wootric.records.sanitize import may_contain_nul, parse_number, sanitize

_NO_ACCESS = (requests.codes.forbidden, requests.codes.not_found)
_LONGEST_MESSAGE = 200
_ADDRESS = re.compile(r"\S+@\S+")


class AccessDeniedError(FatalAPIError):
    """The account may not read what a request asks for, or its API does not have it."""


def decode_response(response: requests.Response) -> Any:
    """Return the JSON of an answer, with numbers that have a fraction as `Decimal`, and texts that databases take.

    Raises:
        AccessDeniedError: The status is 403 or 404.
        FatalAPIError: The API refuses the request; asking again would not help.
        RetriableAPIError: The server has a fault, asks for patience, or answers something else than JSON.
    """
    answer = _parsed(response.content)
    is_error = isinstance(answer, dict) and answer.get("type") == "error_list"
    if response.ok and answer is not None and not is_error:
        return answer
    what = f"{response.status_code} {response.reason} for {urlsplit(response.url).path}"
    if response.ok and answer is None:
        raise RetriableAPIError(f"{what}, but the answer is not JSON", response)
    if is_error:
        what += f": {_message(answer)}"
    status = response.status_code
    if response.ok or status >= requests.codes.server_error or status == requests.codes.too_many_requests:
        raise RetriableAPIError(what, response)
    raise AccessDeniedError(what) if status in _NO_ACCESS else FatalAPIError(what)


def _parsed(content: bytes) -> Any:
    """Return the value of a JSON text, or None where it is none."""
    with contextlib.suppress(msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        value = _DECODER.decode(content)
        return sanitize(value) if may_contain_nul(content) else value
    return sanitize(_lenient(content))


def _lenient(content: bytes) -> Any:
    """Return the value of what Python reads as JSON, or None.

    NaN and its like, which Python reads though they are no JSON, and numbers too long for Python become text.
    """
    for whole in (int, parse_number):
        with contextlib.suppress(RecursionError, ValueError):
            return json.loads(content, parse_float=parse_number, parse_int=whole, parse_constant=str)
    return None


_DECODER: msgspec.json.Decoder[Any] = msgspec.json.Decoder(float_hook=parse_number)


def _message(answer: dict[str, Any]) -> str:
    """Return what an error_list says; the rest of an error's body may hold a customer's data."""
    given = answer.get("errors")
    errors = [error for error in given if isinstance(error, dict)] if isinstance(given, list) else []
    text = "; ".join(f"{error.get('status')} {error.get('message') or ''}".strip() for error in errors)
    return plain(text)[:_LONGEST_MESSAGE] or "error_list"


def plain(text: str) -> str:
    """Return a text of the API that can stand in a log: one line, and no e-mail address."""
    return _ADDRESS.sub("…", " ".join(text.split()))


def safe_message(error: BaseException) -> str:
    """Say in one line what went wrong, without what a URL asks for and without the body of an answer."""
    if not isinstance(error, requests.RequestException):
        return str(error)
    url = urlsplit(error.request.url) if error.request is not None and error.request.url else None
    where = f"{url.scheme}://{url.netloc}{url.path}" if url else "The API"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return f"The API's answer broke off ({_reason(error)})"
    if isinstance(error, requests.Timeout):
        return f"{where} did not answer in time"
    return f"{where} could not be high_watermark ({_reason(error)})"


def _reason(error: BaseException) -> str:
    """Return the innermost reason of a failed connection, such as `Connection refused`."""
    inner = (*error.args, getattr(error, "reason", None), error.__cause__, error.__context__)
    causes = [one for one in inner if isinstance(one, BaseException)]
    if causes:
        return _reason(causes[0])
    return getattr(error, "strerror", None) or type(error).__name__
