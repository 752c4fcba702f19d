"""A query asks for a page, and a page that does not answer its query is an error instead of lost rows."""

from __future__ import annotations

import random
from typing import Any

import pytest

from tap_wootric.pagination.query import (
    TIME_KEYS,
    Page,
    Query,
    TimeKey,
    TimeRange,
    UnprovenSecond,
    WrongAnswerError,
    fetch_page,
    fetch_records,
)
from tap_wootric.records.timestamps import unix_seconds
from tap_wootric.records.transform import Record

TEN = unix_seconds("2024-01-01T10:00:00Z")
ELEVEN = unix_seconds("2024-01-01T11:00:00Z")
FROM_TEN_TO_ELEVEN = TimeRange(TEN, ELEVEN)


def record(number: int, updated: str | None, created: str | None = "2024-01-01T00:00:00Z") -> Record:
    return {"id": number, "updated_at": updated, "created_at": created}


def updated_at(*times: str | None) -> list[Record]:
    """Return records that were updated at times of a day, each with its number as its id."""
    return [record(number, f"2024-01-01T{time}Z" if time else None) for number, time in enumerate(times)]


def fetched(page: list[Record], query: Query) -> Page:
    return fetch_page(lambda _: page, query)


def test_the_records_in_both_ranges_are_selected_and_a_missing_time_counts_as_in_range() -> None:
    records = [
        record(1, "2024-01-01T10:30:00Z", "2024-01-01T10:00:00Z"),
        record(2, "2024-01-01T10:30:00Z", "2024-01-01T09:59:59Z"),
        record(3, "2024-01-01T11:00:00Z", "2024-01-01T10:00:00Z"),
        record(4, None, "2024-01-01T10:00:00Z"),
        record(5, None, None),
        {"id": 6},
    ]
    query = Query("updated_at", updated_at=FROM_TEN_TO_ELEVEN, created_at=FROM_TEN_TO_ELEVEN)
    assert [selected["id"] for selected in query.select(records)] == [1, 4, 5, 6]
    assert Query("updated_at").select(records) == records


def test_a_page_has_its_records_in_order_and_the_second_of_each() -> None:
    records = updated_at("10:00:00.25", "10:00:00", "10:00:01")  # Fractions may be in any order.
    page = fetched(records, Query("updated_at", updated_at=FROM_TEN_TO_ELEVEN))
    assert page.records == records
    assert page.seconds == ["2024-01-01T10:00:00", "2024-01-01T10:00:00", "2024-01-01T10:00:01"]


def test_a_record_without_a_timestamp_takes_the_second_of_the_record_before_it_or_the_start_of_the_range() -> None:
    page = fetched(updated_at(None, "10:00:05", None), Query("updated_at", updated_at=FROM_TEN_TO_ELEVEN))
    assert page.seconds == ["2024-01-01T10:00:00", "2024-01-01T10:00:05", "2024-01-01T10:00:05"]


@pytest.mark.parametrize(
    ("records", "options", "message"),
    [
        (updated_at("10:00:01", "10:00:00"), {}, "sorted by updated_at came in another order"),
        (updated_at("10:00:00", "10:00:01"), {"descending": True}, "sorted by updated_at came in another order"),
        (updated_at("09:59:59.9"), {"updated_at": FROM_TEN_TO_ELEVEN}, "outside the range of updated_at"),
        (updated_at("11:00:00"), {"updated_at": FROM_TEN_TO_ELEVEN}, "outside the range of updated_at"),
        (updated_at("10:00:00"), {"created_at": FROM_TEN_TO_ELEVEN}, "outside the range of created_at"),
        (updated_at(None, None), {}, "a page of rows came without updated_at"),
    ],
    ids=["not ascending", "not descending", "too early", "too late", "the other time is ignored", "no timestamps"],
)
def test_a_page_that_does_not_answer_its_query_is_an_error(
    records: list[Record], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(WrongAnswerError, match=message):
        fetched(records, Query("updated_at", **options))


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])
@pytest.mark.parametrize("key", TIME_KEYS)
def test_the_first_and_the_last_second_there_is_can_be_read(key: TimeKey, time: str) -> None:
    records, query = [record(1, time, time)], Query(key)
    page = fetched(records, query)
    assert page.records == records
    second = page.last_second
    for asked in (
        query.with_range(key, TimeRange.of_second(second)),
        query.starting_at(second),
    ):
        assert fetched(records, asked).records == records
    assert bool(query.starting_at(second + 1).range_of(key)) is (time < "9999")
    unproven = UnprovenSecond(query.with_range(key, TimeRange.of_second(second)), 1_234, "page 30 is full")
    assert str(unproven) == (
        f"1,234 rows {key.removesuffix('_at')} at {time} were read, and there may be more: page 30 is full"
    )


def test_an_unproven_second_names_each_time_that_is_limited_to_it() -> None:
    second = TimeRange.of_second(TEN)
    unproven = UnprovenSecond(Query("created_at", second, second), 2, "they kept changing")
    assert str(unproven).startswith("2 rows updated at 2024-01-01T10:00:00Z and created at 2024-01-01T10:00:00Z were ")


def test_records_are_fetched_in_any_order_but_only_from_the_ranges() -> None:
    shuffled = updated_at(*[f"10:00:{second:02}" for second in range(40)])
    random.Random(0).shuffle(shuffled)
    query = Query("email", updated_at=FROM_TEN_TO_ELEVEN)
    assert fetch_records(lambda _: shuffled, query) == shuffled
    with pytest.raises(WrongAnswerError, match="outside the range of updated_at"):
        fetch_records(lambda _: [*shuffled, *updated_at("12:00:00")], query)
