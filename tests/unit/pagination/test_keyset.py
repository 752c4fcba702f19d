"""Keyset pagination loses no row, whatever changes between two requests. No HTTP."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tap_wootric.pagination import ties
from tap_wootric.pagination.keyset import KeysetReader
from tap_wootric.pagination.query import (
    TIME_KEYS,
    FetchPage,
    Query,
    TimeKey,
    TimeRange,
    UnprovenSecond,
    WrongAnswerError,
)
from tap_wootric.records.timestamps import normalize_timestamp
from tap_wootric.records.transform import Record
from tap_wootric.streams import STREAMS
from tap_wootric.streams.lists import ListStream
from tests.api_reader import ApiReader
from tools.sandbox import Account
from tools.sandbox.account import BEGIN, NOW, SECOND, Row

CHANGES_PER_REQUEST = {"updates": 6.0, "deletes": 0.5, "inserts": 0.5}

WAYS = pytest.mark.parametrize(
    ("stream", "sort_key"), [("end_users", "updated_at"), ("end_users", "created_at"), ("responses", "created_at")]
)
"""How the tap reads its lists: end users since the last sync, as a full table, and the other lists."""


class AccountReader(ApiReader):
    """Reads a list of an account.

    Attributes:
        unproven: The seconds that could not be proven complete.
    """

    def __init__(self, account: Account, stream: str, sort_key: TimeKey, **switches: Any) -> None:
        super().__init__(account, stream, **switches)
        self.table = account.tables[stream]
        self.unproven: list[UnprovenSecond] = []
        kind = STREAMS[stream]
        assert issubclass(kind, ListStream)
        self.query = Query(sort_key, sort_keys=kind.sort_keys).with_range(sort_key, TimeRange(lt=int(NOW) + 1))

    def read(self) -> list[Record]:
        return [*KeysetReader(self.fetch, self.unproven.append, settled_until=int(NOW) - 300).read(self.query)]

    def missed(self) -> list[Row]:
        """Read the list, and return the rows that were not read although they did not change meanwhile."""
        before = self.table.versions()
        read = {record["id"] for record in self.read()}
        after = self.table.versions()
        return [self.table.rows[id_] for id_ in after.keys() - read if before.get(id_) == after[id_]]

    def is_unproven(self, row: Row) -> bool:
        """Return whether a row is in a second that the reader could not prove complete."""
        return any(
            time_range.gte <= row_time // SECOND < time_range.lt
            for second in self.unproven
            for time_range, row_time in ((second.query.created_at, row.created), (second.query.updated_at, row.updated))
            if len(time_range) == 1
        )


@st.composite
def accounts(draw: st.DrawFn) -> Account:
    """Accounts with up to two crowded seconds of end users and of responses, of every size around whole pages."""
    counts = st.integers(0, 130)
    account = Account(draw(counts), draw(counts), seed=draw(st.integers(0, 2**32)))
    sizes = st.integers(0, 160) | st.sampled_from([49, 50, 51, 99, 100, 101])
    for size in draw(st.lists(sizes, max_size=2)):
        account.crowd(account.end_users, size, created_too=draw(st.booleans()))
        account.crowd(account.responses, size, created_too=True)
    return account


@WAYS
@settings(deadline=None, max_examples=6)
@given(
    account=accounts(),
    shuffle_ties=st.booleans(),
    whole_seconds=st.booleans(),
    page_size=st.sampled_from([50, 50, 25, 10]),
)
def test_each_row_of_an_unchanged_list_is_read_exactly_once(
    stream: str, sort_key: TimeKey, account: Account, **switches: Any
) -> None:
    reader = AccountReader(account, stream, sort_key, **switches)
    records = reader.read()
    assert sorted(record["id"] for record in records) == sorted(reader.table.rows)
    sort_values = [record[sort_key] for record in records]
    assert sort_values == sorted(sort_values)
    assert not reader.unproven


@WAYS
@settings(deadline=None, max_examples=6)
@given(
    account=accounts(),
    changes=st.sampled_from([CHANGES_PER_REQUEST, {"deletes": 3}, {"updates": 0.3}]),
    shuffle_ties=st.booleans(),
    whole_seconds=st.booleans(),
)
def test_an_unchanged_row_is_read_although_others_change_at_every_request(
    stream: str, sort_key: TimeKey, account: Account, changes: dict[str, float], **switches: Any
) -> None:
    reader = AccountReader(account, stream, sort_key, **changes, **switches)
    missed = reader.missed()
    assert all(reader.is_unproven(row) for row in missed)
    assert not missed or "deletes" in changes  # Deleted rows can make a second impossible to count.


@WAYS
@settings(deadline=None, max_examples=6)
@given(
    account=accounts(),
    short_pages=st.sampled_from([0, 0.1, 0.4]),
    hidden=st.sampled_from([0, 0, 0.02, 0.2]),
    page_size=st.sampled_from([50, 50, 25]),
)
def test_a_row_is_read_although_pages_come_short_once_or_lack_rows_or_are_smaller_than_asked(
    stream: str, sort_key: TimeKey, account: Account, hidden: float, **switches: Any
) -> None:
    reader = AccountReader(account, stream, sort_key, **switches)
    reader.table.hidden = {row.id for row in reader.table.some(int(hidden * len(reader.table.rows)))}
    with patch.object(ties, "_MAX_READINGS", 6 if hidden else 40):  # Nothing finds a hidden row.
        missed = reader.missed()
    assert all(reader.is_unproven(row) for row in missed)
    assert not reader.unproven or hidden  # A hidden row is counted, but on no page.


@WAYS
@pytest.mark.parametrize("switches", [{"short_pages": 1}, {"page_size": 25}, {"page_size": 10}])
def test_no_page_with_new_rows_ends_a_list(stream: str, sort_key: TimeKey, switches: dict[str, Any]) -> None:
    reader = AccountReader(Account(120, 120), stream, sort_key, **switches)
    assert len(reader.read()) == 120


@WAYS
@pytest.mark.parametrize("hidden", [1, 10, 40])
def test_a_second_whose_page_lacks_rows_does_not_end_a_list(stream: str, sort_key: TimeKey, hidden: int) -> None:
    """The page is as good as full, but smaller than others, and the same request brings it again."""
    account = Account()
    reader = AccountReader(account, stream, sort_key)
    begin = BEGIN // SECOND
    for second in [*range(begin, begin + 60), *[begin + 60] * 120, *range(begin + 61, begin + 120)]:
        reader.table.insert(second * SECOND)
    reader.table.hidden = {*range(61, 61 + hidden)}
    with patch.object(ties, "_MAX_READINGS", 6):
        missed = reader.missed()
    assert {row.created // SECOND for row in missed} <= {begin + 60}
    assert all(reader.is_unproven(row) for row in missed)
    assert reader.unproven


def list_of(seconds: list[int | None]) -> FetchPage:
    """Return a list of rows updated at these seconds; None is a row without a time, at the place of the next row."""
    records = [
        {"id": number, "updated_at": second and normalize_timestamp(second)} for number, second in enumerate(seconds)
    ]
    places = [next(second for second in seconds[number:] if second is not None) for number in range(len(seconds))]

    def fetch(query: Query) -> list[Record]:
        shown = [
            record
            for record, place in zip(records, places, strict=True)
            if query.updated_at.gte <= place < query.updated_at.lt
        ]
        return shown[(query.page - 1) * query.size : query.page * query.size]

    return fetch


def read(fetch: FetchPage, query: Query) -> list[Record]:
    """Read a list that can be proven complete."""
    unproven: list[UnprovenSecond] = []
    records = [*KeysetReader(fetch, unproven.append).read(query)]
    assert not unproven
    return records


@pytest.mark.parametrize(("rows", "requests"), [(0, 2), (1, 2), (49, 2), (50, 3), (51, 3), (99, 4), (3_000, 63)])
def test_a_list_takes_its_pages_and_at_most_two_requests_to_see_that_it_has_ended(rows: int, requests: int) -> None:
    asked: list[Query] = []
    listed = list_of([*range(10, 10 * rows + 1, 10)])

    def fetch(query: Query) -> list[Record]:
        asked.append(query)
        return listed(query)

    assert [record["id"] for record in read(fetch, Query("updated_at"))] == [*range(rows)]
    assert len(asked) <= requests
    assert len({*asked}) == len(asked)


@pytest.mark.parametrize("first", [1, 2])
@pytest.mark.parametrize("empty_pages", [1, 2])
def test_an_empty_page_that_rows_follow_is_asked_for_once_more_and_then_an_error(empty_pages: int, first: int) -> None:
    listed, requests = list_of([*range(1, 150)]), itertools.count(1)

    def fetch(query: Query) -> list[Record]:
        if query.descending:
            return listed(query)[::-1]
        return [] if first <= next(requests) < first + empty_pages else listed(query)

    with pytest.raises(WrongAnswerError, match="rows follow it") if empty_pages > 1 else nullcontext():
        assert len(read(fetch, Query("updated_at"))) == 149


@pytest.mark.parametrize(
    ("page_size", "empty"), [*itertools.product([50, 25], [[1], [2], [3], [4], [5], [6]]), (50, [2, 3]), (50, [3, 4])]
)
def test_an_empty_page_in_place_of_any_other_loses_no_row(page_size: int, empty: list[int]) -> None:
    requests = itertools.count(1)

    def fetch(query: Query) -> list[Record]:
        seconds = range(149)[max(0, query.updated_at.gte) :][:: -1 if query.descending else 1]
        page = [{"id": second, "updated_at": normalize_timestamp(second)} for second in seconds[:page_size]]
        return [] if next(requests) in empty else page

    assert len(read(fetch, Query("updated_at"))) == 149
    assert next(requests) <= 149 / page_size + 8


def test_rows_that_enter_an_empty_list_and_leave_it_again_are_no_error() -> None:
    ids = itertools.count(1)

    def fetch(query: Query) -> list[Record]:
        return [{"id": next(ids), "updated_at": normalize_timestamp(5)}] if query.descending else []

    assert read(fetch, Query("updated_at")) == []


@pytest.mark.parametrize("rows_at_other_end", [0, 1, 2])
def test_ties_that_come_short_in_the_same_order_from_either_end_do_not_end_a_list(rows_at_other_end: int) -> None:
    listed, sizes = list_of([1, 2, 2, 2, 2]), iter([3, rows_at_other_end])

    def fetch(query: Query) -> list[Record]:
        return listed(query)[: next(sizes, None)]

    assert {record["id"] for record in read(fetch, Query("updated_at", sort_keys=("updated_at",)))} == {*range(5)}


@pytest.mark.parametrize("untimed", [44, 45, 46, 60, 79, 80, 81, 99, 100])
@pytest.mark.parametrize("tied", [20, 45, 50, 60])
def test_a_row_without_a_time_is_read_at_its_place(tied: int, untimed: int) -> None:
    seconds: list[int | None] = [*range(1, tied), *[tied] * 40, *range(tied + 1, 150)]
    seconds[untimed] = None
    records = read(list_of(seconds), Query("updated_at", updated_at=TimeRange(1)))
    assert {record["id"] for record in records} == {*range(len(seconds))}


@pytest.mark.parametrize("shuffle_ties", [False, True])
def test_a_crowded_second_costs_its_pages_and_a_few_requests(*, shuffle_ties: bool) -> None:
    account = Account(300)
    account.crowd(account.end_users, 800)
    reader = AccountReader(account, "end_users", "updated_at", shuffle_ties=shuffle_ties, whole_seconds=True)
    assert len(reader.read()) == 1_100
    assert reader.requests <= 1.05 * 1_100 / 50 + 6


@WAYS
def test_a_second_that_cannot_be_proven_complete_is_reported_and_reading_continues_after_it(
    stream: str, sort_key: TimeKey
) -> None:
    account = Account()
    reader = AccountReader(account, stream, sort_key, page_size=10)  # So page 30 ends with row 300.
    second = account.crowd(reader.table, 320, created_too=True)
    later = [reader.table.insert((second + number) * SECOND) for number in range(1, 30)]
    ids = [record["id"] for record in reader.read()]
    assert ids[-29:] == [row.id for row in later]
    assert len(ids) == len({*ids}) >= 300 + 29
    [unproven] = reader.unproven
    assert unproven.rows == len(ids) - 29
    times = TIME_KEYS if stream == "end_users" else ("created_at",)
    seconds = " and ".join(f"{time.removesuffix('_at')} at {normalize_timestamp(second)}" for time in times)
    assert str(unproven).startswith(f"{unproven.rows:,} rows {seconds} were read, and there may be more: ")


def test_an_empty_range_sends_no_request() -> None:
    def fetch(_: Query) -> list[Record]:
        pytest.fail("a request was sent")

    assert read(fetch, Query("updated_at", updated_at=TimeRange(20, 10))) == []


def full_page(fetches: itertools.count[int]) -> Callable[[Query], list[Record]]:
    return lambda _: [
        {
            "id": next(fetches),
            "created_at": normalize_timestamp(second),
            "updated_at": normalize_timestamp(1_700_000_000 + second // 50),
        }
        for second in range(50)
    ]


def test_an_api_that_ignores_the_filter_by_the_other_time_is_an_error() -> None:
    with pytest.raises(WrongAnswerError, match="outside the range of created_at"):
        read(full_page(itertools.count()), Query("updated_at", updated_at=TimeRange(1_700_000_000)))
