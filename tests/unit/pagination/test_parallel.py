"""Partitions bring what a sequential reading brings, in its order, and leave no threads behind."""

from __future__ import annotations

import random
import threading
from bisect import bisect_left
from collections.abc import Callable, Iterator
from itertools import count, islice
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tap_wootric.pagination import parallel
from tap_wootric.pagination.query import ALL_TIME, Query, TimeRange
from tap_wootric.records.timestamps import normalize_timestamp
from tap_wootric.records.transform import Record

EVERYTHING = Query("updated_at", updated_at=TimeRange(1, 2_000_000))
TIMEOUT_SECONDS = 10
"""Far more than any test needs: it only turns a hang into a failure."""


class FakeList:
    """A list that does not change, and what was asked of it; a request takes a second of a clock of its own."""

    def __init__(self, seconds: list[int]) -> None:
        """Make rows that were updated at these Unix seconds, and created each at one of its own."""
        self.queries: list[Query] = []
        self.seconds_passed = 0.0
        self._seconds = sorted(seconds)
        self._rows: list[Record] = [
            {"id": number, "updated_at": normalize_timestamp(second), "created_at": normalize_timestamp(number)}
            for number, second in enumerate(self._seconds, start=1)
        ]

    def monotonic(self) -> float:
        return self.seconds_passed

    def fetch(self, query: Query) -> list[Record]:
        self.queries.append(query)
        self.seconds_passed += 1
        first, last = (bisect_left(self._seconds, second) for second in (query.updated_at.gte, query.updated_at.lt))
        rows = self._rows[first:last]
        if query.created_at != ALL_TIME:
            rows = [row for row in rows if row["id"] in query.created_at]
        if query.descending:
            rows = rows[::-1]
        return rows[(query.page - 1) * query.size : query.page * query.size]

    def read(
        self,
        concurrency: int = 4,
        *,
        fetch: Callable[[Query], list[Record]] | None = None,
        is_limited: Callable[[], bool] = lambda: False,
    ) -> Any:
        """Read everything."""
        return parallel.read(fetch or self.fetch, EVERYTHING, concurrency, is_limited, self.monotonic)


def spread(rows: int) -> FakeList:
    """A list with a row every ten seconds."""
    return FakeList([number * 10 for number in range(1, rows + 1)])


def ids(records: Iterator[Record]) -> list[int]:
    return [record["id"] for record in records]


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        thread.join(TIMEOUT_SECONDS)
        assert not thread.is_alive()


@pytest.mark.parametrize("concurrency", [2, 8])
@given(
    rows=st.integers(200, 1_500),
    crowd=st.integers(0, 400),
    limited_share=st.sampled_from([0.0, 0.0, 0.1, 0.5]),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=25, deadline=None)
def test_the_rows_are_those_of_a_sequential_reading_in_its_order_whenever_a_limit_shows_up(
    concurrency: int, rows: int, crowd: int, limited_share: float, seed: int
) -> None:
    rng = random.Random(seed)
    seconds = [*(rng.randrange(1, 3 * rows) for _ in range(rows)), *[150] * crowd]
    found = [*FakeList(seconds).read(concurrency, is_limited=lambda: rng.random() < limited_share)]
    assert [record["updated_at"] for record in found] == [normalize_timestamp(second) for second in sorted(seconds)]
    assert len({record["id"] for record in found}) == len(seconds)


@pytest.mark.parametrize("call", range(1, 16))
def test_a_limit_that_shows_up_for_a_moment_loses_nothing(call: int) -> None:
    calls = count(1)
    found = spread(2_000).read(is_limited=lambda: next(calls) == call)
    assert ids(found) == [*range(1, 2_001)]


def test_a_few_pages_are_read_without_partitions() -> None:
    source = spread(190)
    assert len(ids(source.read(8))) == 190
    assert len(source.queries) == 4
    assert {query.page for query in source.queries} == {1}


def test_there_are_no_partitions_if_the_records_take_longer_than_the_responses() -> None:
    source = spread(600)
    for _ in source.read(8):
        source.seconds_passed += 0.1
    assert {query.page for query in source.queries} == {1}


@pytest.mark.parametrize("reason", ["one at a time", "a limit"])
def test_there_are_no_partitions_with(reason: str) -> None:
    source = spread(600)
    found = source.read(1 if reason == "one at a time" else 8, is_limited=lambda: reason == "a limit")
    assert ids(found) == [*range(1, 601)]
    assert {query.page for query in source.queries} == {1}


class Gate:
    """Lets some requests pass and holds the others until it is opened."""

    def __init__(self, source: FakeList, pages: int) -> None:
        self.source = source
        self.open = threading.Event()
        self.is_held = threading.Event()
        self._passes = threading.Semaphore(pages)

    def fetch(self, query: Query) -> list[Record]:
        if not self._passes.acquire(blocking=False):
            self.is_held.set()
            assert self.open.wait(TIMEOUT_SECONDS)
        return self.source.fetch(query)


def test_several_partitions_are_read_at_a_time() -> None:
    source = spread(5_000)
    together = threading.Barrier(4)
    arrived = {threading.current_thread()}

    def fetch(query: Query) -> list[Record]:
        thread = threading.current_thread()
        if query.page == 1 and thread not in arrived:  # Other pages are looked at to begin a partition, one at a time.
            arrived.add(thread)
            together.wait(TIMEOUT_SECONDS)
        return source.fetch(query)

    assert ids(source.read(4, fetch=fetch)) == [*range(1, 5_001)]


def wait_until_quiet(source: FakeList, most: int) -> int:
    """Wait until the buffers are full, and return how many requests were made."""
    deadline = threading.Event()
    asked = -1
    while asked < len(source.queries) <= most:
        asked = len(source.queries)
        deadline.wait(2 * parallel._POLL_SECONDS)  # noqa: SLF001 - Threads look again after this.
    return len(source.queries)


def test_no_more_partitions_are_begun_than_are_to_be_read_at_a_time() -> None:
    source = spread(20_000)
    records = source.read(4)
    next(islice(records, 300, None))  # Some of the first partition; from now on, no records are taken.
    most = 5 + 4 * (1 + 31)
    assert 4 * 4 < wait_until_quiet(source, most) <= most
    records.close()


def test_a_crowded_second_is_not_buffered_as_a_whole() -> None:
    source = FakeList([*range(1, 400), *[1_000] * 6_000, *range(2_000, 3_000)])
    records = source.read(4)
    next(islice(records, 300, None))
    assert wait_until_quiet(source, 110) < 110  # Of the 120 pages of that second, 60 are buffered.
    assert len(ids(records)) == 399 + 6_000 + 1_000 - 301


def test_the_records_before_an_error_are_yielded_first() -> None:
    source = spread(20_000)
    fatal = normalize_timestamp(30_000)

    def fetch(query: Query) -> list[Record]:
        page = source.fetch(query)
        if any(row["updated_at"] == fatal for row in page) and query.page == 1:
            raise ConnectionError("broken")
        return page

    records = source.read(8, fetch=fetch)
    found = ids(islice(records, 2_940))
    with pytest.raises(ConnectionError, match="broken"):
        found.extend(record["id"] for record in records)
    assert found == [*range(1, len(found) + 1)]
    assert 2_951 <= len(found) + 49 < 3_049  # Up to the page before the one that failed, wherever that began.
    assert len(source.queries) < 300  # Of the 400 pages, those of the partitions that were begun, and no more.


def test_an_error_while_a_partition_is_cut_off_comes_in_its_turn() -> None:
    source = spread(5_000)

    def fetch(query: Query) -> list[Record]:
        if query.page == 16:
            raise ConnectionError("broken")
        return source.fetch(query)

    records = source.read(8, fetch=fetch)
    begun = 5 * 49 + 4 * 50 + 8 * 50 - 10  # What was read before the third partition was to be cut off.
    assert ids(islice(records, begun)) == [*range(1, begun + 1)]
    with pytest.raises(ConnectionError, match="broken"):
        list(records)
    assert len(source.queries) < 30  # Nothing is read behind it.


def test_the_error_of_a_thread_that_dies_is_raised() -> None:
    calls = count(1)

    def is_limited() -> bool:
        if next(calls) == 4:
            raise RuntimeError("broken")
        return False

    with pytest.raises(RuntimeError, match="broken"):
        list(spread(2_000).read(is_limited=is_limited))


@pytest.mark.parametrize("taken", [1, 400, 2_000])
def test_a_reading_that_is_abandoned_leaves_no_threads(taken: int) -> None:
    records = spread(5_000).read(8)
    assert len(ids(islice(records, taken))) == taken
    records.close()


def test_a_reading_that_is_abandoned_does_not_wait_for_a_response() -> None:
    gate = Gate(spread(5_000), pages=12)
    records = gate.source.read(4, fetch=gate.fetch)
    assert len(ids(islice(records, 260))) == 260
    assert gate.is_held.wait(TIMEOUT_SECONDS)
    records.close()
    assert not gate.open.is_set()
    gate.open.set()
