"""What databases and programs refuse, replaced."""

from __future__ import annotations

import logging
from decimal import Decimal
from typing import Any

_logger = logging.getLogger(__name__)

_ESCAPE = b"\\"  # Found, or not, in no time.
_NUL = b"\\u0000"
_LARGEST_EXPONENT = 10_000
"""PostgreSQL holds numbers of up to 16,383 digits behind the point."""
_DEPTH_OF_TEXT = 2
"""A row's own texts lie in a row, which lies in a list. A target may be able to do something about a NUL in them."""


def may_contain_nul(content: bytes) -> bool:
    """Return whether a text in a JSON text may hold a NUL."""
    return _ESCAPE in content and _NUL in content


def parse_number(text: str) -> Decimal | str:
    """Return a number, or its text where it is none that programs can be expected to hold."""
    try:
        number = Decimal(text)
    except ArithmeticError:
        return text
    return number if abs(number.adjusted()) <= _LARGEST_EXPONENT else text


def fit(value: Any) -> Any:
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


def sanitize_nested(value: Any) -> Any:
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
