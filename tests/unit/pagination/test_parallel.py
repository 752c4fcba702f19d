"""Parallel reading yields what one reading yields, in its order, and leaves nothing running. The time is made up."""

from __future__ import annotations

import random
import threading
from bisect import bisect_left
from collections.abc import Callable, Generator, Iterator
from functools import cache
from itertools import count, islice
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tap_wootric.pagination import parallel
from tap_wootric.pagination.query import Query, TimeRange
from tap_wootric.records.timestamps import normalize_timestamp, unix_seconds
from tap_wootric.records.transform import Record

EVERYTHING = Query("updated_at", updated_at=TimeRange(1, 2_000_000))


def rows_at(seconds: list[int]) -> list[Record]:
    """Rows updated at the given seconds, each created at a second of its own."""
    return [
        {"id": number, "updated_at": normalize_timestamp(second), "created_at": normalize_timestamp(number)}
        for number, second in enumerate(sorted(seconds), start=1)
    ]


@cache
def rows_apart(rows: int) -> list[Record]:
    """Rows updated ten seconds apart."""
    return rows_at([number * 10 for number in range(1, rows + 1)])


class SlowApi:
    """A list that does not change, and a clock by which each request takes a second."""

    def __init__(self, rows: list[Record]) -> None:
        self.rows = rows
        self._updates = [unix_seconds(row["updated_at"]) for row in rows]
        self.queries: list[Query] = []
        self.seconds = 0.0

    def fetch(self, query: Query) -> list[Record]:
        self.queries.append(query)
        self.seconds += 1
        updated_at, created_at = query.updated_at, query.created_at
        found = self.rows[bisect_left(self._updates, updated_at.gte) : bisect_left(self._updates, updated_at.lt)]
        found = [row for row in found if created_at == TimeRange() or unix_seconds(row["created_at"]) in created_at]
        if query.descending or query.sort_key != "updated_at":
            found.sort(key=lambda row: (row[query.sort_key], row["id"]), reverse=query.descending)
        return found[(query.page - 1) * query.size : query.page * query.size]

    def read(
        self,
        concurrency: int,
        is_limited: Callable[[], bool] = lambda: False,
        fetch: Callable[[Query], list[Record]] | None = None,
    ) -> Generator[Record]:
        records = parallel.read(fetch or self.fetch, EVERYTHING, concurrency, is_limited, lambda: self.seconds)
        return cast("Generator[Record]", records)

    def cut_at(self) -> list[int]:
        """The pages that were looked at to cut partitions."""
        return [query.page for query in self.queries if query.page > 1]


@given(
    size=st.integers(200, 3_000),
    tied=st.integers(0, 400),
    concurrency=st.integers(2, 8),
    limited_share=st.sampled_from([0.0, 0.0, 0.1, 0.5]),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=60, deadline=None)
def test_the_records_are_those_of_one_reading_in_its_order_even_if_limits_come_and_go(
    size: int, tied: int, concurrency: int, limited_share: float, seed: int
) -> None:
    rng = random.Random(seed)
    rows = rows_at([*(rng.randrange(1, 3 * size) for _ in range(size)), *[150] * tied])
    found = list(SlowApi(rows).read(concurrency, lambda: rng.random() < limited_share))
    assert [row["updated_at"] for row in found] == [row["updated_at"] for row in rows]
    assert {row["id"] for row in found} == {row["id"] for row in rows}
    assert len(found) == len(rows)


@pytest.mark.parametrize("limited_call", range(1, 16))
def test_a_limit_that_is_announced_for_a_moment_loses_no_record(limited_call: int) -> None:
    calls = count(1)
    found = [row["id"] for row in SlowApi(rows_apart(4_000)).read(4, lambda: next(calls) == limited_call)]
    assert found == list(range(1, 4_001))


def test_a_few_pages_are_read_without_partitions() -> None:
    api = SlowApi(rows_apart(190))
    assert len(list(api.read(8))) == 190
    assert len(api.queries) == 4
    assert api.cut_at() == []


def test_there_are_no_partitions_if_the_target_takes_longer_than_the_api() -> None:
    api = SlowApi(rows_apart(600))
    for _ in api.read(8):
        api.seconds += 1
    assert api.cut_at() == []


def test_partitions_have_twelve_pages_until_their_sixteenth_part_of_the_list_is_longer() -> None:
    api = SlowApi(rows_apart(15_000))
    assert len(list(api.read(2))) == 15_000
    assert api.cut_at() == [12] * 17 + [13, 14, 15, 16, 17, 18]


@pytest.mark.parametrize("pages", [60, 61, 62, 80, 100, 150, 300])
def test_partitions_cost_few_requests(pages: int) -> None:
    api = SlowApi(rows_apart(50 * pages))
    assert len(list(api.read(4))) == 50 * pages
    assert len(api.queries) <= 1.10 * pages


@pytest.mark.parametrize(
    ("before", "tied", "after"),
    [(0, 3_000, 0), (500, 3_000, 500), (700, 3_000, 300), (1_000, 3_000, 0), (690, 3_000, 10), (1_362, 1_500, 0)],
)
def test_partitions_cost_few_requests_where_thousands_of_rows_were_updated_in_one_second(
    before: int, tied: int, after: int
) -> None:
    burst = 10 * (before + 1)
    rows = rows_at([*range(10, burst, 10), *[burst] * tied, *range(burst + 10, burst + 10 * after + 1, 10)])
    api = SlowApi(rows)
    assert len({row["id"] for row in api.read(4)}) == len(rows)
    assert len(api.queries) <= 1.15 * len(rows) / 50


def asked_when_idle(api: SlowApi, at_least: int) -> int:
    """Wait for so many requests, then until no thread sends more, and return how many there were."""
    for _ in range(300):
        asked = len(api.queries)
        threading.Event().wait(0.1)
        if at_least <= asked == len(api.queries):
            return asked
    pytest.fail(f"only {len(api.queries)} requests were sent")


def test_no_more_partitions_are_begun_than_there_are_threads() -> None:
    api = SlowApi(rows_apart(10_000))
    rows = api.read(4)
    next(islice(rows, 14 * 49 + 6 * 599 + 300, None))  # Into the seventh partition; from now on, nothing is consumed.
    assert asked_when_idle(api, 14 + 10 * 13) == 14 + 10 * 13
    assert len(api.cut_at()) == 6 + 4
    rows.close()


@pytest.mark.parametrize("yielded", [300, 710, 1_000, 1_300, 1_700, 2_500])
def test_a_sync_that_is_killed_anywhere_has_read_little_in_vain(yielded: int) -> None:
    api = SlowApi(rows_apart(10_000))
    rows = api.read(4)
    next(islice(rows, yielded, None))
    asked = asked_when_idle(api, yielded // 50)
    rows.close()
    assert asked <= (1 + 4 * 0.3) * 13 / 12 * (yielded / 49 + 1)


def test_a_sync_of_a_hundred_pages_that_is_killed_eight_times_takes_few_requests() -> None:
    """Kills come evenly, and each costs the records after the last STATE, of which there is one for 100 records."""
    rows = rows_apart(5_000)
    asked, done = 0, 0
    for end in [*(5_000 * number // 9 for number in range(1, 9)), 5_000]:
        api = SlowApi(rows[done:])
        records = api.read(4)
        found = [row["id"] for row in islice(records, end - done)]
        records.close()
        assert found == list(range(done + 1, end + 1))
        asked += len(api.queries)
        done = (end - 1) // 100 * 100
    assert asked <= 1.3 * 5_000 / 49


def test_an_error_is_raised_after_all_records_before_it() -> None:
    api = SlowApi(rows_apart(20_000))
    fatal = normalize_timestamp(30_000)

    def fetch(query: Query) -> list[Record]:
        page = api.fetch(query)
        if any(row["updated_at"] == fatal for row in page) and query.page == 1:
            raise ConnectionError("broken")
        return page

    rows = api.read(8, fetch=fetch)
    found = [row["id"] for row in islice(rows, 2_940)]
    with pytest.raises(ConnectionError, match="broken"):
        found.extend(row["id"] for row in rows)
    assert found == list(range(1, len(found) + 1))
    assert 2_951 <= len(found) + 49 < 3_049  # A page before the one that failed, wherever it began.
    assert len(api.queries) < 300  # Of 400: only the partitions already begun.


def test_an_error_while_a_partition_is_cut_is_raised_in_its_turn() -> None:
    api = SlowApi(rows_apart(5_000))

    def fetch(query: Query) -> list[Record]:
        if len(api.cut_at()) == 2 and query.page > 1:
            raise ConnectionError("broken")
        return api.fetch(query)

    rows = api.read(8, fetch=fetch)
    before = 14 * 49 + 599 + 588  # The records before the third partition.
    assert [row["id"] for row in islice(rows, before)] == list(range(1, before + 1))
    with pytest.raises(ConnectionError, match="broken"):
        list(rows)
    assert len(api.queries) < 14 + 3 * 13  # No thread reads on after it.


def test_an_error_of_the_limit_check_is_raised() -> None:
    calls = count(1)

    def is_limited() -> bool:
        if next(calls) == 4:
            raise RuntimeError("broken")
        return False

    with pytest.raises(RuntimeError, match="broken"):
        list(SlowApi(rows_apart(4_000)).read(4, is_limited))


@pytest.fixture
def _ends_its_threads() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        thread.join(30)
        assert not thread.is_alive()


@pytest.mark.usefixtures("_ends_its_threads")
@pytest.mark.parametrize("taken", [1, 400, 2_000])
def test_closing_a_reading_ends_its_threads(taken: int) -> None:
    rows = SlowApi(rows_apart(5_000)).read(8)
    assert len(list(islice(rows, taken))) == taken
    rows.close()


@pytest.mark.usefixtures("_ends_its_threads")
def test_the_end_of_a_reading_ends_its_threads() -> None:
    assert len(list(SlowApi(rows_apart(5_000)).read(8))) == 5_000


def test_a_crowded_second_is_not_buffered_as_a_whole() -> None:
    """While nobody takes records, its thread fills a buffer of 60 pages and waits for room."""
    api = SlowApi(rows_at([*range(1, 1_000), *[2_000] * 6_000, *range(3_000, 4_000)]))
    records = api.read(4)
    next(islice(records, 900, None))
    assert 80 < asked_when_idle(api, 80) < 100  # Of the 123 pages of that second, 60 are buffered.
    assert len(list(records)) == 999 + 6_000 + 1_000 - 901
