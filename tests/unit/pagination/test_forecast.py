"""A forecast tells how many rows are left, for few requests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tap_wootric.pagination.forecast import forecast
from tap_wootric.pagination.query import PAGE_SIZE, Query, TimeKey, TimeRange, WrongAnswerError
from tap_wootric.records.timestamps import timestamp_of_second

START, END = 1_700_000_000, 1_710_000_000


class List:
    """A list whose rows have these times."""

    def __init__(self, seconds: list[int]) -> None:
        self.seconds = sorted(seconds)
        self.queries: list[Query] = []

    def fetch(self, query: Query) -> list[dict[str, Any]]:
        self.queries.append(query)
        key = query.time_key
        found = [second for second in self.seconds if second in query.range_of(key)]
        found = found[::-1] if query.descending else found
        skipped = (query.page - 1) * query.size
        page = found[skipped : skipped + query.size]
        return [{"id": number, key: f"{timestamp_of_second(second)}Z"} for number, second in enumerate(page)]

    def forecast(self, start: int = START, key: TimeKey = "updated_at") -> Callable[[int], float]:
        query = Query(key).with_range(key, TimeRange(start, END))
        return forecast(self.fetch, query).rows_after


def spread(rows: int, start: int = START, end: int = END) -> list[int]:
    return [start + (end - start) * row // rows for row in range(rows)]


@pytest.mark.parametrize(("rows", "requests"), [(0, 1), (1_400, 1), (1_600, 2), (9_000, 4), (20_000, 8), (100_000, 24)])
def test_a_forecast_costs_the_less_the_less_there_is_left(rows: int, requests: int) -> None:
    listed = List(spread(rows))
    rows_after = listed.forecast()
    assert len(listed.queries) <= requests
    assert rows_after(START) == pytest.approx(rows, rel=0.1, abs=PAGE_SIZE * 15)
    assert all(query.page == 30 and query.size == PAGE_SIZE for query in listed.queries)


def test_rows_before_the_position_do_not_count() -> None:
    rows_after = List(spread(10_000)).forecast()
    assert rows_after(START + (END - START) // 4) == pytest.approx(7_500, rel=0.1)
    assert rows_after(END) == rows_after(END + 1) == 0


@pytest.mark.parametrize("key", ["updated_at", "created_at"])
def test_a_forecast_starts_anywhere_and_goes_by_the_key_of_the_query(key: TimeKey) -> None:
    listed = List(spread(10_000))
    middle = (START + END) // 2
    assert listed.forecast(middle, key)(middle) == pytest.approx(5_000, rel=0.1)
    assert {query.sort_key for query in listed.queries} == {key}


@pytest.mark.parametrize("at", [START, END - 10_000])
def test_an_import_at_either_end_is_seen(at: int) -> None:
    rows_after = List([*spread(10_000), *spread(30_000, at, at + 10_000)]).forecast()
    assert rows_after(START) == pytest.approx(40_000, rel=0.2)


@pytest.mark.parametrize("second", [START, START + 1, END - 1])
def test_thousands_of_rows_in_one_second_do_not_matter(second: int) -> None:
    rows_after = List([*spread(10_000), *[second] * 4_000]).forecast()
    assert rows_after(START) == pytest.approx(12_000, rel=0.3)


def test_a_range_of_a_few_seconds_has_a_forecast() -> None:
    listed = List([END - 3] * 2_000 + [END - 1] * 2_000)
    assert listed.forecast(END - 3)(END - 3) > 0


def test_an_answer_that_does_not_fit_the_query_is_an_error() -> None:
    listed = List(spread(10_000))
    with pytest.raises(WrongAnswerError):
        forecast(lambda query: listed.fetch(query)[::-1], Query("updated_at", updated_at=TimeRange(START, END)))
