"""What an answer of the API says: JSON, or an error worth reading."""

from __future__ import annotations

import contextlib
import json
import logging
import re
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import msgspec
import requests
from singer_sdk.exceptions import FatalAPIError, RetriableAPIError

_logger = logging.getLogger(__name__)

_NO_ACCESS = (requests.codes.forbidden, requests.codes.not_found)
_LONGEST_MESSAGE = 200
_ADDRESS = re.compile(r"\S+@\S+")
_ESCAPE = b"\\"  # Found, or not, in no time.
_NUL = b"\\u0000"
_LARGEST_EXPONENT = 10_000
"""PostgreSQL holds numbers of up to 16,383 digits behind the point."""
_DEPTH_OF_TEXT = 2
"""A row's own texts lie in a row, which lies in a list. A target may be able to do something about a NUL in them."""


class NoAccessError(FatalAPIError):
    """The account may not read what a request asks for, or its API does not have it."""


def read_answer(response: requests.Response) -> Any:
    """Return the JSON of an answer, with numbers that have a fraction as `Decimal`, and texts that databases take.

    Raises:
        NoAccessError: The status is 403 or 404.
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
    raise NoAccessError(what) if status in _NO_ACCESS else FatalAPIError(what)


def has_nul(content: bytes) -> bool:
    """Return whether a text in a JSON text may hold a NUL."""
    return _ESCAPE in content and _NUL in content


def _parsed(content: bytes) -> Any:
    """Return the value of a JSON text, or None where it is none."""
    with contextlib.suppress(msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        value = _DECODER.decode(content)
        return _fit(value) if has_nul(content) else value
    return _fit(_lenient(content))


def _lenient(content: bytes) -> Any:
    """Return the value of what Python reads as JSON, or None.

    NaN and its like, which Python reads though they are no JSON, and numbers too long for Python become text.
    """
    for whole in (int, number_of):
        with contextlib.suppress(RecursionError, ValueError):
            return json.loads(content, parse_float=number_of, parse_int=whole, parse_constant=str)
    return None


def number_of(text: str) -> Decimal | str:
    """Return a number, or its text where it is none that programs can be expected to hold."""
    try:
        number = Decimal(text)
    except ArithmeticError:
        return text
    return number if abs(number.adjusted()) <= _LARGEST_EXPONENT else text


_DECODER: msgspec.json.Decoder[Any] = msgspec.json.Decoder(float_hook=number_of)


def _fit(value: Any) -> Any:
    """Return a JSON value that a database takes, and log where it is another one.

    JSON can spell a half of a surrogate pair, but it is no character: no database takes it, and most programs fail
    to write it. A NUL is one, but PostgreSQL takes it neither in JSON nor in an array, and targets that take it out
    of text do not look there.
    """
    fit = _fit_at(value, 0)
    if fit != value:
        _logger.warning(
            "A text holds what databases do not take (a half of a surrogate pair, or, inside of an object or a list, "
            "a NUL): it is replaced by U+FFFD"
        )
    return fit


def fit_inside(value: Any) -> Any:
    """Return a JSON value that a database takes inside of an object: a row's own text may hold a NUL."""
    return _fit_at(value, _DEPTH_OF_TEXT + 1)


def _fit_at(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        whole = value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return whole.replace("\0", "\ufffd") if depth > _DEPTH_OF_TEXT else whole
    if isinstance(value, list):
        return [_fit_at(item, depth + 1) for item in value]
    if isinstance(value, dict):
        # The name of a field that the schema does not know ends up in an object.
        return {_fit_at(name, _DEPTH_OF_TEXT + 1): _fit_at(item, depth + 1) for name, item in value.items()}
    return value


def _message(answer: dict[str, Any]) -> str:
    """Return what an error_list says; the rest of an error's body may hold a customer's data."""
    given = answer.get("errors")
    errors = [error for error in given if isinstance(error, dict)] if isinstance(given, list) else []
    text = "; ".join(f"{error.get('status')} {error.get('message') or ''}".strip() for error in errors)
    return plain(text)[:_LONGEST_MESSAGE] or "error_list"


def plain(text: str) -> str:
    """Return a text of the API that can stand in a log: one line, and no e-mail address."""
    return _ADDRESS.sub("…", " ".join(text.split()))


def describe(error: BaseException) -> str:
    """Say in one line what went wrong, without what a URL asks for and without the body of an answer."""
    if not isinstance(error, requests.RequestException):
        return str(error)
    url = urlsplit(error.request.url) if error.request is not None and error.request.url else None
    where = f"{url.scheme}://{url.netloc}{url.path}" if url else "The API"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return f"The API's answer broke off ({_reason(error)})"
    if isinstance(error, requests.Timeout):
        return f"{where} did not answer in time"
    return f"{where} could not be reached ({_reason(error)})"


def _reason(error: BaseException) -> str:
    """Return the innermost reason of a failed connection, such as `Connection refused`."""
    inner = (*error.args, getattr(error, "reason", None), error.__cause__, error.__context__)
    causes = [one for one in inner if isinstance(one, BaseException)]
    if causes:
        return _reason(causes[0])
    return getattr(error, "strerror", None) or type(error).__name__
