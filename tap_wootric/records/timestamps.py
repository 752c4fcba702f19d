"""Timestamps in one form: UTC, `2016-12-16T17:05:13Z`."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import lru_cache

import pendulum
from pendulum.parsing.exceptions import ParserError

SECOND_LENGTH = len("2016-12-16T17:05:13")
"""How much of a time tells its second."""

DATE_LENGTH = len("2016-12-16")
"""How much of a time tells its date."""

SECONDS_PER_DAY = 86_400
"""Seconds."""

_TIME = re.compile(r"(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(\.\d+)? ?(UTC|[Zz]|[+-]\d\d:?\d\d)?", re.ASCII)
_UNIX_TIME = re.compile(r"(\d{1,12})(\.\d+)?", re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d[T\d :.,Zz+-]*", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_USUAL = len("2016-12-16 09:05:13 -0800")
_HOUR = len("2016-12-16 09")
_IN_AN_HOUR = frozenset(f":{minute:02}:{second:02}" for minute in range(60) for second in range(60))
_HOURS_KEPT = 4_096


def normalize_timestamp(value: object) -> str:
    """Bring a time to the form `2016-12-16T17:05:13Z`, with a fraction where it has one.

    Known are the forms that the API sends or documents: `2016-12-16 09:05:13 -0800`, with a T, a fraction, a colon
    in the offset, or no offset (which means UTC), and Unix seconds; and whatever else pendulum reads as a date.

    Raises:
        ValueError: It is no time, or lies outside the years 1 to 9999.
    """
    if (
        type(value) is str
        and len(value) == _USUAL
        and (rest := value[_HOUR:SECOND_LENGTH]) in _IN_AN_HOUR
        and (hour := _utc_hour(value[:_HOUR], value[SECOND_LENGTH:]))
    ):
        return f"{hour}{rest}Z"
    return _normalize(value)


@lru_cache(_HOURS_KEPT)
def _utc_hour(hour: str, offset: str) -> str:
    """Return an hour such as `2016-12-16 09` in UTC; nothing where that is no whole hour, or no hour at all."""
    try:
        begin, _, rest = _normalize(f"{hour}:00:00{offset}").partition(":")
    except ValueError:
        return ""
    return begin if rest == "00:00Z" else ""


def _normalize(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        raise ValueError("not a time")  # noqa: TRY004 - To the caller, a wrong type is a wrong value.
    text = str(value).strip()
    try:
        if match := _TIME.fullmatch(text):
            day, clock, fraction, offset = match.groups()
            moment = datetime.fromisoformat(f"{day}T{clock}{offset if offset and offset[0] in '+-' else 'Z'}")
        elif match := _UNIX_TIME.fullmatch(text):
            seconds, fraction = match.groups()
            moment = _EPOCH + timedelta(seconds=int(seconds))
        elif _DATE.fullmatch(text):
            parsed = pendulum.parse(text)
            if not isinstance(parsed, pendulum.DateTime):
                raise ValueError("not a time")
            moment, fraction = parsed, f"{parsed:.%f}".rstrip("0").rstrip(".")
        else:
            raise ValueError("not a time")
        whole = moment.astimezone(UTC).replace(microsecond=0, tzinfo=None).isoformat()
    except (OverflowError, ParserError) as error:
        raise ValueError("not a time") from error
    return f"{whole}{fraction or ''}Z"


def unix_seconds(time: str) -> int:
    """Return the whole Unix second that a time in the form of `utc` falls into."""
    return int(datetime.fromisoformat(f"{time[:SECOND_LENGTH]}Z").timestamp())


def timestamp_of_second(second: int) -> str:
    """Return a Unix second, negative ones included, in the form of `utc` but for the `Z`."""
    return (_EPOCH + timedelta(seconds=second)).replace(tzinfo=None).isoformat()
