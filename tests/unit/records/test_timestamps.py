"""Normalized timestamps have one format, and are the same instant as before."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tap_wootric.records.timestamps import SECOND_LENGTH, normalize_timestamp, timestamp_of_second, unix_seconds

FEW_EXAMPLES = settings(max_examples=50, deadline=None)
OFFSETS = st.integers(-14 * 4, 14 * 4).map(lambda quarters: timezone(timedelta(minutes=15 * quarters)))
INSTANTS = st.datetimes(datetime(1971, 1, 1), datetime(2999, 1, 1), timezones=OFFSETS).map(  # noqa: DTZ001 - See timezones.
    lambda instant: instant.replace(microsecond=0)
)


@FEW_EXAMPLES
@given(instant=INSTANTS)
def test_a_timestamp_is_the_same_instant_in_utc(instant: datetime) -> None:
    expected = instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert normalize_timestamp(instant.strftime("%Y-%m-%d %H:%M:%S %z")) == expected  # The usual format.
    assert normalize_timestamp(str(instant)) == expected  # With a colon in the offset.


@FEW_EXAMPLES
@given(instant=INSTANTS)
def test_unix_seconds_are_the_same_instant_and_back(instant: datetime) -> None:
    seconds = int(instant.timestamp())
    normalized = normalize_timestamp(seconds)
    assert normalized == normalize_timestamp(str(seconds)) == f"{timestamp_of_second(seconds)}Z"
    assert unix_seconds(normalized) == seconds


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ("2016-12-16 09:05:13 -0800", "2016-12-16T17:05:13Z"),
        ("2016-12-16 09:05:13 +0545", "2016-12-16T03:20:13Z"),
        ("2015-02-12T06:29:27.000-08:00", "2015-02-12T14:29:27.000Z"),
        ("2015-02-12T06:29:27.1234567-08:00", "2015-02-12T14:29:27.1234567Z"),
        ("2015-04-20 04:46:51-08:00", "2015-04-20T12:46:51Z"),
        ("2014-12-01 18:36:59", "2014-12-01T18:36:59Z"),
        ("2014-12-01 18:36:59 UTC", "2014-12-01T18:36:59Z"),
        ("2016-12-16T17:05:13Z", "2016-12-16T17:05:13Z"),
        (1661002761, "2022-08-20T13:39:21Z"),
        (Decimal("1661002761.5"), "2022-08-20T13:39:21.5Z"),
        ("2015-04-20", "2015-04-20T00:00:00Z"),
        ("2015-04-20T04:46", "2015-04-20T04:46:00Z"),
    ],
)
def test_every_known_format_is_understood(sent: object, expected: str) -> None:
    assert normalize_timestamp(sent) == expected


@pytest.mark.parametrize(
    "sent",
    [
        "",
        "soon",
        "12:00",
        "2015-13-01 00:00:00",
        "2015-01-01 24:00:00 -0800",
        "2015-01-01 00:60:00 -0800",
        "2015-01-01 00:00:00 -2500",
        "0001-01-01 00:00:00 +0800",
        "٢٠١٥-01-01 00:00:00",
        10**12,
        -1,
        True,
        1.5,
        [],
        {},
        None,
    ],
)
def test_anything_else_is_an_error(sent: object) -> None:
    for _ in range(2):  # A cached hour must not change that.
        with pytest.raises(ValueError, match=r".+"):
            normalize_timestamp(sent)


@FEW_EXAMPLES
@given(seconds=st.lists(st.integers(-60_000_000_000, 250_000_000_000), min_size=2))
def test_timestamps_of_seconds_convert_back_and_sort_as_text(seconds: list[int]) -> None:
    timestamps = [timestamp_of_second(second) for second in seconds]
    assert [unix_seconds(f"{timestamp}.999Z") for timestamp in timestamps] == seconds
    assert sorted(timestamps) == [timestamp_of_second(second) for second in sorted(seconds)]
    assert {len(timestamp) for timestamp in timestamps} == {SECOND_LENGTH}
