"""A forecast tells how many rows are left, for few requests."""

from __future__ import annotations

import math
import random
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from tap_wootric.pagination.forecast import RowsAfter, forecast
from tap_wootric.pagination.query import PAGE_SIZE, Query, TimeKey, TimeRange, WrongAnswerError
from tap_wootric.records.timestamps import timestamp_of_second

START, END = 1_600_000_000, 1_700_000_000
"""A little more than three years."""


class List:
    """A list whose rows have these times, and whose pages hold so many rows."""

    def __init__(self, seconds: Sequence[int], page_rows: int = PAGE_SIZE) -> None:
        self.seconds = sorted(seconds)
        self.page_rows = page_rows
        self.queries: list[Query] = []

    def fetch(self, query: Query) -> list[dict[str, Any]]:
        self.queries.append(query)
        key, size = query.time_key, min(query.size, self.page_rows)
        time_range = query.range_of(key)
        found = self.seconds[bisect_left(self.seconds, time_range.gte) : bisect_left(self.seconds, time_range.lt)]
        found = found[::-1] if query.descending else found
        page = found[(query.page - 1) * size : query.page * size]
        return [{"id": number, key: f"{timestamp_of_second(second)}Z"} for number, second in enumerate(page)]

    def forecast(self, start: int = START, key: TimeKey = "created_at", **options: int) -> RowsAfter:
        query = Query(key).with_range(key, TimeRange(start, END))
        return forecast(self.fetch, query, self.page_rows, **options)


def spread(rows: int, start: int = START, end: int = END) -> list[int]:
    return [start + (end - start) * row // rows for row in range(rows)]


def evenly(rng: random.Random, rows: int) -> list[int]:
    return [rng.randrange(START, END) for _ in range(rows)]


def growing(rng: random.Random, rows: int) -> list[int]:
    return [START + int((END - START) * math.log1p(rng.random() * math.expm1(4)) / 4) for _ in range(rows)]


def in_office_hours(rng: random.Random, rows: int) -> list[int]:
    return [86_400 * rng.randrange(START // 86_400 + 1, END // 86_400) + rng.randrange(28_000) for _ in range(rows)]


def half_imported_in_a_day(rng: random.Random, rows: int) -> list[int]:
    return [*evenly(rng, rows // 2), *[START + rng.randrange(86_400) for _ in range(rows // 2)]]


def in_bursts(rng: random.Random, rows: int) -> list[int]:
    return [second for _ in range(rows // 80) for second in [rng.randrange(START, END)] * 80]


def with_an_import_at_the_end(rng: random.Random, rows: int) -> list[int]:
    return [*evenly(rng, rows - 60), *[END - 1] * 60]


@pytest.mark.parametrize("page_rows", [50, 25])
@pytest.mark.parametrize("rows", [0, 1, 49, 50, 51, 99, 100, 101, 700, 725, 749])
def test_a_short_range_is_counted_exactly(rows: int, page_rows: int) -> None:
    listed = List(spread(rows), page_rows)
    assert round(listed.forecast()(START), 6) == rows
    assert len(listed.queries) <= 6


def test_a_range_of_rows_that_share_a_second_is_counted_too() -> None:
    assert List([START] * 1_400).forecast()(START) == pytest.approx(1_400)


@pytest.mark.parametrize(
    ("make", "rows"),
    [
        (evenly, 1_600),
        (evenly, 4_000),
        (evenly, 33_000),
        (growing, 50_000),
        (in_office_hours, 33_000),
        (half_imported_in_a_day, 24_000),
        (in_bursts, 32_000),
        (with_an_import_at_the_end, 1_560),
    ],
)
def test_a_long_range_is_estimated_within_five_percent(
    make: Callable[[random.Random, int], list[int]], rows: int
) -> None:
    listed = List(make(random.Random(1), rows))
    assert listed.forecast()(START) == pytest.approx(rows, rel=0.05)


@pytest.mark.parametrize(("rows", "requests"), [(1_600, 7), (9_000, 9), (20_000, 13), (100_000, 29)])
def test_shorter_ranges_take_fewer_requests(rows: int, requests: int) -> None:
    listed = List(spread(rows))
    listed.forecast()
    assert len(listed.queries) <= requests


@pytest.mark.parametrize("max_samples", [2, 8])
def test_the_samples_can_be_limited(max_samples: int) -> None:
    listed = List(spread(100_000))
    assert listed.forecast(max_samples=max_samples)(START) == pytest.approx(100_000, rel=0.05)
    assert len(listed.queries) <= max_samples


@pytest.mark.parametrize("key", ["updated_at", "created_at"])
def test_a_forecast_starts_anywhere_and_goes_by_the_key_of_the_query(key: TimeKey) -> None:
    listed, middle = List(spread(10_000)), (START + END) // 2
    estimate = listed.forecast(middle, key)
    assert estimate(middle) == pytest.approx(5_000, rel=0.05)
    assert estimate((middle + END) // 2) == pytest.approx(2_500, rel=0.05)
    assert estimate(END) == estimate(END + 1) == 0
    assert {query.sort_key for query in listed.queries} == {key}


@pytest.mark.parametrize("at", [START, END - 10_000])
def test_an_import_at_either_end_is_seen(at: int) -> None:
    estimate = List([*spread(10_000), *spread(30_000, at, at + 10_000)]).forecast()
    assert estimate(START) == pytest.approx(40_000, rel=0.2)


@pytest.mark.parametrize("second", [START, START + 1, END - 1])
def test_thousands_of_rows_in_one_second_do_not_break_a_forecast(second: int) -> None:
    assert List([*spread(10_000), *[second] * 4_000]).forecast()(START) == pytest.approx(12_000, rel=0.3)
    assert List([second] * 4_000).forecast()(START) >= 1_450


def test_a_range_of_a_few_seconds_has_a_forecast() -> None:
    assert List([END - 3] * 2_000 + [END - 1] * 2_000).forecast(END - 3)(END - 3) >= 2 * 1_450


def test_an_answer_that_does_not_fit_the_query_is_an_error() -> None:
    listed = List(spread(10_000))
    with pytest.raises(WrongAnswerError):
        forecast(lambda query: listed.fetch(query)[::-1], Query("created_at", created_at=TimeRange(START, END)))
