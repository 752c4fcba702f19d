"""Ties are read completely in whatever order a real PostgreSQL, which the API most likely uses, returns them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tap_wootric.pagination.keyset import KeysetReader
from tap_wootric.pagination.query import PAGE_SIZE, Query, TimeKey, TimeRange, UnprovenSecond
from tap_wootric.streams import EndUsers, Responses
from tests import postgres
from tests.api_reader import ApiReader
from tests.database import DatabaseAccount, DatabaseTable, Options
from tests.tap import full_table, selecting, tap
from tools.sandbox import Sandbox
from tools.sandbox.account import BEGIN, END, NOW, SECOND
from tools.sandbox.server import Clock

TIE = (BEGIN + END) // 2 // SECOND * SECOND
"""The second in which rows are inserted by one statement, in microseconds."""

APART = 50 * SECOND
SORT_KEYS = {"end_users": EndUsers.sort_keys, "responses": Responses.sort_keys}

LISTS: dict[str, tuple[TimeKey, ...]] = {"end_users": ("updated_at", "created_at"), "responses": ("created_at",)}
"""How each list is read: incremental, or as a full table."""

PLANS = {
    "the planner's own": Options(),
    "the planner's own, without indexes": Options(indexes=False),
    "random for each request": Options(random_plans=True),
    "scans that start anywhere": Options(indexes=False, other_scans=True, padding=1_000),
}


@pytest.fixture(scope="module")
def database_url(postgres_server: str) -> Iterator[str]:
    """One database for all these tests: creating one takes longer than most of them."""
    with postgres.database(postgres_server) as database:
        yield database.url


@pytest.fixture(params=[*PLANS])
def account(request: pytest.FixtureRequest, database_url: str) -> Iterator[DatabaseAccount]:
    with DatabaseAccount(database_url, PLANS[request.param]) as account:
        yield account


def fill(table: DatabaseTable, ties: int, others: int) -> None:
    """Insert tied rows, another one earlier in their second, and rows before and after that."""
    if others:
        table.insert_many(others, TIE - others * APART, apart=APART)
    table.insert_many(1, TIE + SECOND // 10)
    table.insert_many(ties, TIE + SECOND // 2)
    if others:
        table.insert_many(others, TIE + APART, apart=APART)
    table.enlarge()


class Reader(ApiReader):
    """Reads a list through the API over the database."""

    def __init__(self, account: DatabaseAccount, stream: str = "end_users", **switches: Any) -> None:
        super().__init__(account, stream, **switches)
        self._sort_keys = SORT_KEYS[stream]

    def read(self, sort_key: TimeKey) -> Iterator[int]:
        """Yield the ids of all rows, and check that they are proven complete."""
        unproven = list[UnprovenSecond]()
        reader = KeysetReader(self.fetch, unproven.append, settled_until=int(NOW) - 300)
        until = TimeRange(lt=int(NOW) + 1)  # As in a sync, later updates leave the range.
        query = Query(sort_key, sort_keys=self._sort_keys).with_range(sort_key, until)
        yield from (record["id"] for record in reader.read(query))
        assert not unproven


def test_a_scan_starts_where_another_one_stopped(database_url: str) -> None:
    with DatabaseAccount(database_url, PLANS["scans that start anywhere"]) as account:
        fill(account.end_users, 1_000, 0)
        fetch = Reader(account).fetch
        assert len({fetch(Query("created_at"))[1]["id"] for _ in range(6)}) > 1


@pytest.mark.parametrize(("ties", "others"), [(213, 300), (400, 0)])
def test_all_rows_of_a_bulk_insert_are_read(account: DatabaseAccount, ties: int, others: int) -> None:
    for stream, sort_keys in LISTS.items():
        table = getattr(account, stream)
        fill(table, ties, others)
        ids = sorted(table.rows)
        for sort_key in sort_keys:
            assert sorted(Reader(account, stream).read(sort_key)) == ids


def test_no_row_that_stays_is_lost_while_others_are_updated_at_every_request(account: DatabaseAccount) -> None:
    fill(account.end_users, 300, 300)
    before = account.end_users.versions()
    read_ids = set(Reader(account, updates=1).read("updated_at"))
    after = account.end_users.versions()
    assert {row for row in before if before[row] == after.get(row)} - read_ids == set()


def test_a_full_table_keeps_rows_that_a_long_transaction_rewrites_meanwhile(account: DatabaseAccount) -> None:
    """When it commits, their update time is that of its start: a reader by update time would already be past it."""
    table = account.end_users
    fill(table, 300, 0)
    for number, row in enumerate(table.rows.values()):
        table.update(row, TIE + number * SECOND)  # Each in a second of its own.
    reader = Reader(account)
    requests_before_commit = 4
    read_ids: set[int] = set()
    with table.transaction() as writer:
        rewritten = list(table.rows.values())[-20:]
        for row in rewritten:
            writer.update(row, int((NOW - 60) * SECOND))
        ids = reader.read("created_at")
        for row_id in ids:
            read_ids.add(row_id)
            if reader.requests >= requests_before_commit:
                break
    read_ids.update(ids)
    assert read_ids == table.rows.keys()


def test_the_command_reads_all_rows_of_a_bulk_insert(account: DatabaseAccount) -> None:
    fill(account.end_users, 300, 0)
    with Sandbox(account, Clock(NOW)) as sandbox:
        for catalog in (selecting("end_users"), full_table("end_users")):
            synced = tap(config=sandbox.config, catalog=catalog)
            assert synced.status == 0, synced.log
            assert sorted(record["id"] for record in synced.records("end_users")) == sorted(account.end_users.rows)


def test_with_indexes_a_bulk_insert_takes_two_requests_a_page_at_most(database_url: str) -> None:
    for ties in (60, 700):
        with DatabaseAccount(database_url) as account:
            fill(account.responses, ties, 0)
            reader = Reader(account, "responses")
            assert len(list(reader.read("created_at"))) == ties + 1
            assert reader.requests <= 2.2 * (ties // PAGE_SIZE + 1) + 8
