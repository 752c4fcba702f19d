"""Replaces values that databases and other programs reject."""

from __future__ import annotations

import logging
from decimal import Decimal
from typing import Any

_logger = logging.getLogger(__name__)

_REPLACEMENT_CHARACTER = "\ufffd"
_MAX_EXPONENT = 4_299
"""Numbers beyond 10^±4,299 stay text: targets in Python read no integer of more than 4,300 digits."""
_ROW_TEXT_DEPTH = 2
"""Depth of a row's own text in a page: a list (0) of rows (1) of values (2)."""


def parse_number(text: str) -> Decimal | str:
    """Return a JSON number as a `Decimal`, or unchanged as text if databases or targets cannot hold it."""
    try:
        number = Decimal(text)
    except ArithmeticError:
        return text
    return number if abs(number.adjusted()) <= _MAX_EXPONENT else text


def sanitize(value: Any, name: str) -> Any:
    """Return the value of a JSON document without the characters that databases reject; log a warning if it had any.

    Lone surrogates, and NULs inside objects or lists, become U+FFFD. JSON can spell a lone surrogate, but no database
    and few programs can encode it. PostgreSQL rejects NULs in JSON columns and arrays, and targets that strip NULs from
    text columns do not look there. NULs in a row's own text are left for the target to strip.

    Args:
        value: The value.
        name: Begins the warning.
    """
    sanitized = _sanitize(value, depth=0)
    if sanitized != value:
        _logger.warning(
            "%s: text that databases reject (lone surrogates, NULs inside objects or lists) was replaced with U+FFFD",
            name,
        )
    return sanitized


def sanitize_nested(value: Any) -> Any:
    """Return a JSON value without the characters that databases reject inside an object, NULs included."""
    return _sanitize(value, depth=_ROW_TEXT_DEPTH + 1)


def _sanitize(value: Any, depth: int) -> Any:
    match value:
        case str():
            text = value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            return text.replace("\0", _REPLACEMENT_CHARACTER) if depth > _ROW_TEXT_DEPTH else text
        case list():
            return [_sanitize(item, depth + 1) for item in value]
        case dict():
            # Names count as nested: the name of an unknown field becomes a key of the object `extra_fields`.
            result: dict[str, Any] = {}
            for name, item in value.items():
                clean = sanitize_nested(name)
                number = len(result)
                while clean != name and (clean in result or clean in value):  # Two names must not become one.
                    clean = f"{sanitize_nested(name)}{number}"
                    number += 1
                result[clean] = _sanitize(item, depth + 1)
            return result
        case _:
            return value
