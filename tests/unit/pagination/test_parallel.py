"""Windows that are read at a time bring what one reading brings, in its order, and leave nothing running behind."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from itertools import count, islice
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tap_wootric.pagination import parallel as windows
from tap_wootric.pagination.query import Query, TimeRange
from tap_wootric.records.timestamps import normalize_timestamp, unix_seconds
from tap_wootric.records.transform import Record
from tests.sandbox import Account, Sandbox
from tests.sandbox.account import NOW
from tests.sandbox.server import Clock
from tests.tap import seen, tap

EVERYTHING = Query("updated_at", updated_at=TimeRange(1, 2_000_000))


def rows_at(seconds: list[int]) -> list[Record]:
    """Rows that were updated at some seconds, and created each at one of its own."""
    return [
        {"id": number, "updated_at": normalize_timestamp(second), "created_at": normalize_timestamp(number)}
        for number, second in enumerate(sorted(seconds), start=1)
    ]


class List:
    """A list that stands still, and what was asked of it."""

    def __init__(self, rows: list[Record], latency: float = 0) -> None:
        self.rows = rows
        self.queries: list[Query] = []
        self.latency = latency

    def __call__(self, query: Query) -> list[Record]:
        self.queries.append(query)
        time.sleep(self.latency)
        spans = (("updated_at", query.updated_at), ("created_at", query.created_at))
        found = [
            row
            for row in self.rows
            if all(span == TimeRange() or unix_seconds(row[clock]) in span for clock, span in spans)
        ]
        found.sort(key=lambda row: (row[query.sort_key], row["id"]), reverse=query.descending)
        return found[(query.page - 1) * query.size : query.page * query.size]


@pytest.fixture(autouse=True, scope="module")
def _worth_it() -> Iterator[None]:
    """Have windows read also where a list answers at once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windows, "_MIN_WAITING_SHARE", 0)
        yield


def never() -> bool:
    return False


@given(
    size=st.integers(200, 3_000),
    crowd=st.integers(0, 400),
    concurrency=st.integers(2, 8),
    part=st.sampled_from([0.0, 0.0, 0.1, 0.5]),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=60, deadline=None)
def test_the_rows_are_those_of_one_reading_in_its_order(
    size: int, crowd: int, concurrency: int, part: float, seed: int
) -> None:
    """Also where a limit shows up, and goes, at any time."""
    rng = random.Random(seed)
    rows = rows_at([*(rng.randrange(1, 3 * size) for _ in range(size)), *[150] * crowd])
    source = List(rows)
    found = list(windows.read(source, EVERYTHING, concurrency, lambda: rng.random() < part))
    assert [row["updated_at"] for row in found] == [row["updated_at"] for row in rows]
    assert {row["id"] for row in found} == {row["id"] for row in rows}
    assert len(found) == len(rows)


@pytest.mark.parametrize("call", range(1, 16))
def test_a_limit_that_shows_up_for_a_moment_loses_nothing(call: int) -> None:
    calls = count(1)
    source = List(spread(4_000), latency=0.001)
    found = [row["id"] for row in windows.read(source, EVERYTHING, 4, lambda: next(calls) == call)]
    assert found == list(range(1, 4_001))


def spread(rows: int) -> list[Record]:
    return rows_at([number * 10 for number in range(1, rows + 1)])


def test_a_few_pages_are_read_without_windows() -> None:
    source = List(spread(190))
    assert len(list(windows.read(source, EVERYTHING, 8, never))) == 190
    assert len(source.queries) == 4
    assert {query.page for query in source.queries} == {1}


def test_there_are_no_windows_where_the_rows_take_longer_than_the_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(windows, "_MIN_WAITING_SHARE", 0.8)
    source = List(spread(600), latency=0.001)
    for _ in windows.read(source, EVERYTHING, 8, never):
        time.sleep(0.001)
    assert {query.page for query in source.queries} == {1}


def asked_in_the_end(source: List) -> int:
    """Wait until no more is asked, and return how often it was."""
    before = -1
    while len(source.queries) > before:
        before = len(source.queries)
        time.sleep(0.3)
    return before


def test_no_more_windows_are_begun_than_are_to_be_read_at_a_time() -> None:
    source = List(spread(30_000))
    rows = windows.read(source, EVERYTHING, 4, never)
    next(islice(rows, 300, None))  # Some of the first window; from now on, nobody takes any.
    assert 4 * 8 < asked_in_the_end(source) <= 5 + 4 * (1 + 31)
    rows.close()  # type: ignore[attr-defined]


def test_a_crowded_second_is_not_kept_as_a_whole() -> None:
    source = List(rows_at([*range(1, 400), *[1_000] * 6_000, *range(2_000, 3_000)]))
    rows = windows.read(source, EVERYTHING, 4, never)
    next(islice(rows, 300, None))
    assert asked_in_the_end(source) < 110  # Of the 120 pages of that second, 60 wait.
    assert len(list(rows)) == 399 + 6_000 + 1_000 - 301


def test_what_was_read_before_an_error_comes_before_it() -> None:
    source = List(spread(20_000))
    fatal = normalize_timestamp(30_000)

    def fetch(query: Query) -> list[Record]:
        page = source(query)
        if any(row["updated_at"] == fatal for row in page) and query.page == 1:
            raise ConnectionError("broken")
        return page

    rows = windows.read(fetch, EVERYTHING, 8, never)
    found = [row["id"] for row in islice(rows, 2_940)]
    with pytest.raises(ConnectionError, match="broken"):
        found.extend(row["id"] for row in rows)
    assert found == list(range(1, len(found) + 1))
    assert 2_951 <= len(found) + 49 < 3_049  # A page before the one that failed, wherever it began.
    assert len(source.queries) < 300  # Of the 400 pages, those of the windows that were begun, and no more.


def test_an_error_while_a_window_is_cut_comes_in_its_turn() -> None:
    source = List(spread(5_000))

    def fetch(query: Query) -> list[Record]:
        if query.page == 16:
            raise ConnectionError("broken")
        return source(query)

    rows = windows.read(fetch, EVERYTHING, 8, never)
    begun = 5 * 49 + 4 * 50 + 8 * 50 - 10  # What was read before the third window was to be cut.
    assert [row["id"] for row in islice(rows, begun)] == list(range(1, begun + 1))
    with pytest.raises(ConnectionError, match="broken"):
        list(rows)
    assert len(source.queries) < 30  # Nobody reads on behind it.


def test_a_thread_that_breaks_is_not_waited_for() -> None:
    calls = count(1)

    def is_limited() -> bool:
        if next(calls) == 4:
            raise RuntimeError("broken")
        return False

    with pytest.raises(RuntimeError, match="broken"):
        list(windows.read(List(spread(4_000)), EVERYTHING, 4, is_limited))


@pytest.fixture
def threads() -> Iterator[set[threading.Thread]]:
    before = set(threading.enumerate())
    yield before
    deadline = time.monotonic() + 5
    while left := set(threading.enumerate()) - before:
        assert time.monotonic() < deadline, left
        time.sleep(0.01)


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("taken", [1, 400, 2_000])
def test_a_reading_that_is_left_leaves_no_threads(taken: int) -> None:
    rows = windows.read(List(spread(5_000), latency=0.002), EVERYTHING, 8, never)
    assert len(list(islice(rows, taken))) == taken
    rows.close()  # type: ignore[attr-defined]


@pytest.mark.usefixtures("threads")
def test_a_reading_that_ends_leaves_no_threads() -> None:
    assert len(list(windows.read(List(spread(5_000)), EVERYTHING, 8, never))) == 5_000


# Through the command

SLOW = 0.1
"""Seconds for each answer."""


def run(sandbox: Sandbox, concurrency: int = 8, **settings: Any) -> Any:
    return tap(config={**sandbox.config, "concurrency": concurrency, **settings})


@pytest.mark.parametrize(("concurrency", "rows"), [(1, 2_000), (4, 4_000), (8, 12_000)])
def test_so_many_pages_are_asked_for_at_a_time_as_the_setting_says(
    concurrency: int, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Sandbox, "latency", SLOW)
    with Sandbox(Account(rows), Clock(NOW)) as sandbox:
        done = run(sandbox, concurrency)
    assert done.status == 0, done.log
    assert sandbox.at_once == concurrency
    assert seen(done.records("end_users")) == sandbox.account.end_users.as_it_stands()
    stamps = [record["updated_at"] for record in done.records("end_users")]
    assert stamps == sorted(stamps)
    assert sum(request.path == "/oauth/token" for request in sandbox.requests) == 1


def test_a_token_that_dies_is_renewed_once_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Sandbox, "latency", SLOW)
    with Sandbox(Account(3_000), Clock(NOW)) as sandbox:

        def revoke(_path: str, _number: int) -> str:
            if len(sandbox.requests) == 30:
                sandbox.api.tokens.clear()
            return ""

        sandbox.fault = revoke
        done = run(sandbox)
    assert done.status == 0, done.log
    assert len(done.records("end_users")) == 3_000
    assert sum(request.path == "/oauth/token" for request in sandbox.requests) == 2


@pytest.mark.parametrize("shown_at", [8, 40])
def test_a_limit_that_shows_up_in_the_middle_ends_the_windows_and_loses_nothing(
    shown_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Sandbox, "latency", SLOW)
    with Sandbox(Account(4_000), Clock()) as sandbox:

        def limit(path: str, number: int) -> str:
            if path == "/v1/end_users" and number == shown_at:
                sandbox.switches.limit, sandbox.switches.limit_seconds = 30, 2
            return ""

        sandbox.fault = limit
        done = run(sandbox)
        late = sandbox.pages("end_users")[shown_at + 8 :]
    assert done.status == 0, done.log
    assert seen(done.records("end_users")) == sandbox.account.end_users.as_it_stands()
    assert len(done.records("end_users")) == 4_000
    assert len(sandbox.pages("end_users")) <= 1.08 * 4_000 / 50 + 10 + 8
    assert [request.status for request in late].count(429) == 0
    assert {request.query.get("page", "1") for request in late} == {"1"}  # No further window was cut.
