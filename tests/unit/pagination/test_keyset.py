"""Keyset pagination loses no row, whatever changes between two requests. No HTTP."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from tap_wootric.pagination import keyset
from tap_wootric.pagination.query import FetchPage, Query, TimeKey, TimeRange, UnprovenSecondError, WrongAnswerError
from tap_wootric.records.timestamps import normalize_timestamp
from tap_wootric.records.transform import Record
from tests.api_reader import ApiReader
from tools.sandbox import Account
from tools.sandbox.account import NOW

CHANGES_PER_REQUEST = {"updates": 6.0, "deletes": 0.5, "inserts": 0.5}


class AccountReader(ApiReader):
    """Reads the end users of an account."""

    def __init__(self, account: Account, **switches: Any) -> None:
        super().__init__(account, "end_users", **switches)
        self.table = account.end_users

    def read(self, sort_key: TimeKey = "updated_at") -> list[Record]:
        until = TimeRange(lt=int(NOW) + 1)
        query = Query(sort_key).with_range(sort_key, until)
        return list(keyset.read(self.fetch, query))

    def missed_ids(self, sort_key: TimeKey = "updated_at") -> set[int]:
        """Read the list, and return the ids of rows that were not read although they did not change meanwhile."""
        before = self.table.versions()
        read = {record["id"] for record in self.read(sort_key)}
        unchanged = {row_id for row_id, row in self.table.versions().items() if before.get(row_id) == row}
        return unchanged - read


@st.composite
def accounts(draw: st.DrawFn) -> Account:
    """Accounts with up to three crowded seconds, of every size around whole pages."""
    account = Account(draw(st.integers(0, 230)), seed=draw(st.integers(0, 2**32)))
    sizes = st.integers(0, 260) | st.sampled_from([49, 50, 51, 99, 100, 101])
    for size in draw(st.lists(sizes, max_size=3)):
        account.crowd(account.end_users, size, created_too=draw(st.booleans()))
    return account


@pytest.mark.parametrize("sort_key", ["updated_at", "created_at"])
@settings(deadline=None, max_examples=60)
@given(account=accounts(), shuffle_ties=st.booleans(), whole_seconds=st.booleans())
def test_each_row_of_an_unchanged_list_is_read_exactly_once(
    sort_key: TimeKey, account: Account, *, shuffle_ties: bool, whole_seconds: bool
) -> None:
    records = AccountReader(account, shuffle_ties=shuffle_ties, whole_seconds=whole_seconds).read(sort_key)
    assert sorted(record["id"] for record in records) == sorted(account.end_users.rows)
    sort_values = [record[sort_key] for record in records]
    assert sort_values == sorted(sort_values)


@pytest.mark.parametrize("sort_key", ["updated_at", "created_at"])
@settings(deadline=None, max_examples=60)
@given(
    account=accounts(),
    changes=st.sampled_from([CHANGES_PER_REQUEST, {"deletes": 3}, {"updates": 0.3}]),
    whole_seconds=st.booleans(),
)
def test_an_unchanged_row_is_read_although_others_change_at_every_request(
    sort_key: TimeKey, account: Account, changes: dict[str, float], *, whole_seconds: bool
) -> None:
    assert AccountReader(account, whole_seconds=whole_seconds, **changes).missed_ids(sort_key) == set()


@settings(deadline=None, max_examples=30)
@given(account=accounts(), whole_seconds=st.booleans())
def test_an_unchanged_row_is_read_although_others_change_and_ties_are_shuffled_at_every_request(
    account: Account, *, whole_seconds: bool
) -> None:
    assert (
        AccountReader(account, shuffle_ties=True, whole_seconds=whole_seconds, **CHANGES_PER_REQUEST).missed_ids()
        == set()
    )


def read_divided(fetch: FetchPage, query: Query, pages: int) -> list[Record]:
    """Divide a list into parts first, then read them, the last one first."""
    parts = list[keyset.Cursor]()
    rest: keyset.Cursor | None = keyset.Cursor(query)
    while rest is not None and not rest.is_at_end():
        first, rest = keyset.split(fetch, rest, pages)
        parts.append(first)
    parts += [] if rest is None else [rest]
    read = [list(itertools.chain.from_iterable(keyset.iter_pages(fetch, part))) for part in reversed(parts)]
    return list(itertools.chain.from_iterable(reversed(read)))


@pytest.mark.parametrize("sort_key", ["updated_at", "created_at"])
@settings(deadline=None, max_examples=40)
@given(account=accounts(), pages=st.integers(1, 5), shuffle_ties=st.booleans(), whole_seconds=st.booleans())
def test_the_parts_of_a_divided_list_have_each_of_its_rows_once(
    sort_key: TimeKey, account: Account, pages: int, *, shuffle_ties: bool, whole_seconds: bool
) -> None:
    reader = AccountReader(account, shuffle_ties=shuffle_ties, whole_seconds=whole_seconds)
    records = read_divided(reader.fetch, Query(sort_key).with_range(sort_key, TimeRange(lt=int(NOW) + 1)), pages)
    assert sorted(record["id"] for record in records) == sorted(account.end_users.rows)
    stamps = [record[sort_key] for record in records]
    assert stamps == sorted(stamps)


@pytest.mark.parametrize("sort_key", ["updated_at", "created_at"])
@settings(deadline=None, max_examples=40)
@given(account=accounts(), pages=st.integers(1, 5), whole_seconds=st.booleans())
def test_an_unchanged_row_is_in_a_part_although_others_change_at_every_request(
    sort_key: TimeKey, account: Account, pages: int, *, whole_seconds: bool
) -> None:
    reader = AccountReader(account, whole_seconds=whole_seconds, **CHANGES_PER_REQUEST)
    before = account.end_users.versions()
    query = Query(sort_key).with_range(sort_key, TimeRange(lt=int(NOW) + 1))
    try:
        records = read_divided(reader.fetch, query, pages)
    except UnprovenSecondError:  # Rows of a second were deleted faster than they can be counted: an error, not a loss.
        reject()
    unchanged = {id_ for id_, row in account.end_users.versions().items() if before.get(id_) == row}
    assert unchanged <= {record["id"] for record in records}


def list_of(seconds: Sequence[int | None]) -> FetchPage:
    """Return a list of rows updated at these seconds; None is a row without a time, at the place of the next row."""
    records = [
        {"id": number, "updated_at": second and normalize_timestamp(second)} for number, second in enumerate(seconds)
    ]
    places = [next(second for second in seconds[number:] if second is not None) for number in range(len(seconds))]

    def fetch(query: Query) -> list[Record]:
        shown = [record for record, place in zip(records, places, strict=True) if place in query.updated_at]
        return shown[(query.page - 1) * query.size : query.page * query.size]

    return fetch


@pytest.mark.parametrize("pages", [2, 12, 30])
def test_the_first_part_takes_as_many_requests_as_pages_and_the_rest_begins_with_the_rows_on_the_page(
    pages: int,
) -> None:
    fetch = list_of(range(10, 20_000, 10))
    first, rest = keyset.split(fetch, keyset.Cursor(Query("updated_at", updated_at=TimeRange(1))), pages)
    read = [list(page) for page in keyset.iter_pages(fetch, first)]
    assert len(read) == pages
    assert sum(map(len, read)) == 49 * pages
    assert rest
    assert [record["id"] for record in rest.fetched] == list(range(49 * pages, 50 * pages))
    assert rest.query.updated_at.gte == 10 * 50 * pages


def test_a_page_that_is_not_full_shows_the_rest_and_where_it_ends() -> None:
    fetch = list_of(range(10, 10 * (50 * 3 + 48) + 1, 10))
    first, rest = keyset.split(fetch, keyset.Cursor(Query("updated_at", updated_at=TimeRange(1))), 4)
    assert [record["id"] for page in keyset.iter_pages(fetch, first) for record in page] == list(range(49 * 4))
    assert rest
    assert rest.is_at_end()
    assert [record["id"] for record in rest.fetched] == [196, 197]


@pytest.mark.parametrize("rows", [0, 149, 150, 151, 196])
def test_a_list_that_so_many_requests_read_is_not_divided(rows: int) -> None:
    cursor = keyset.Cursor(Query("updated_at", updated_at=TimeRange(1)))
    assert keyset.split(list_of(range(10, 10 * rows + 1, 10)), cursor, 4) == (cursor, None)


@pytest.mark.parametrize("untimed", [949, 950, 951, 960, 979, 980, 981, 999, 1_000])
@pytest.mark.parametrize("tied", [920, 945, 950, 960, 979, 980])
def test_no_row_is_lost_where_a_list_is_divided_at_rows_with_equal_timestamps_and_one_without(
    tied: int, untimed: int
) -> None:
    seconds: list[int | None] = [*range(1, tied), *[tied] * 40, *range(tied + 1, 1_050)]
    seconds[untimed] = None
    records = read_divided(list_of(seconds), Query("updated_at", updated_at=TimeRange(1)), 20)
    assert {record["id"] for record in records} == set(range(len(seconds)))


@pytest.mark.parametrize("shuffle_ties", [False, True])
def test_a_crowded_second_costs_its_pages_and_a_few_requests(*, shuffle_ties: bool) -> None:
    account = Account(3_000)
    account.crowd(account.end_users, 4_000)
    reader = AccountReader(account, shuffle_ties=shuffle_ties, whole_seconds=True)
    assert len(reader.read()) == 7_000
    assert reader.requests <= 1.05 * 7_000 / 50 + 6


def test_a_second_crowded_by_both_times_is_read_while_it_can_be_counted() -> None:
    account = Account(10)
    account.crowd(account.end_users, 1_499, created_too=True)
    assert len(AccountReader(account).read()) == 1_499 + 10


@pytest.mark.parametrize(
    ("rows", "switches"),
    [
        pytest.param(1_500, {}, id="page 30 is full"),
        pytest.param(1_700, {"shuffle_ties": True, "whole_seconds": True}, id="shuffled at every request"),
    ],
)
def test_a_second_that_cannot_be_proven_complete_is_an_error(rows: int, switches: dict[str, Any]) -> None:
    account = Account()
    second = account.crowd(account.end_users, rows, created_too=True)
    with pytest.raises(
        UnprovenSecondError,
        match=rf"\d+ rows updated at {normalize_timestamp(second)} and created .* there may be more",
    ):
        AccountReader(account, **switches).read()


def test_an_empty_range_sends_no_request() -> None:
    def fetch(_: Query) -> list[Record]:
        pytest.fail("a request was sent")

    assert list(keyset.read(fetch, Query("updated_at", updated_at=TimeRange(20, 10)))) == []


def rows(*timestamps: str | None, time_key: str = "updated_at") -> list[Record]:
    return [
        {"id": number, "created_at": "2024-01-01T00:00:00Z", time_key: timestamp}
        for number, timestamp in enumerate(timestamps)
    ]


@pytest.mark.parametrize(
    ("page", "message"),
    [
        (rows("2024-01-02T00:00:00Z", "2024-01-01T00:00:00Z"), "another order"),
        (rows("2023-12-31T23:59:59Z"), "outside the range of updated_at"),
        (rows("2024-02-01T00:00:00Z"), "outside the range of updated_at"),
        (rows(*[None] * 50), "without updated_at"),
    ],
)
def test_a_page_that_does_not_answer_its_query_is_an_error(page: list[Record], message: str) -> None:
    january = TimeRange(1_704_067_200, 1_706_745_600)
    with pytest.raises(WrongAnswerError, match=message):
        list(keyset.read(lambda _: page, Query("updated_at", updated_at=january)))


def test_rows_without_a_timestamp_keep_their_place() -> None:
    page = rows(None, "2024-01-01T00:00:00Z", None, "2024-01-02T00:00:00Z")
    assert list(keyset.read(lambda _: page, Query("updated_at"))) == page


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
    fetch = full_page(itertools.count())
    with pytest.raises(WrongAnswerError, match="outside the range"):
        list(keyset.read(fetch, Query("updated_at")))
