"""The sandbox over PostgreSQL responds like the one in memory, except for the order of rows with equal keys."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import postgres
from tests.database import DatabaseAccount, Options
from tools.sandbox import Account, Api, Switches
from tools.sandbox.account import BEGIN, NOW, SECOND, Body

_BEGIN = BEGIN // SECOND


def get_page(account: Account, stream: str, **query: object) -> list[Body]:
    api = Api(account, Switches(), lambda: NOW)
    api.tokens["token"] = NOW * 2
    params = {name: str(value) for name, value in query.items()}
    response = api.answer("GET", f"/v1/{stream}", params, {}, "Bearer token")
    assert response.status == 200, response.content
    rows: list[Body] = response.content
    return rows


@pytest.fixture(
    params=[Options(), Options(indexes=False, padding=2_000), Options(random_plans=True)],
    ids=["indexes", "no indexes", "random plans"],
)
def account(request: pytest.FixtureRequest, database: postgres.Database) -> Iterator[DatabaseAccount]:
    with DatabaseAccount(database.url, options=request.param) as account:
        yield account


@pytest.mark.parametrize("stream", ["end_users", "responses", "declines"])
def test_an_account_in_a_database_has_the_same_pages_as_one_in_memory(account: DatabaseAccount, stream: str) -> None:
    memory = Account()
    for either in (memory, account):
        table = either.tables[stream]
        for _ in range(60):
            table.insert(*either.timestamps())
        for row in table.some(7):
            table.update(row, row.updated + 1_000_001)
        for row in table.some(3):
            table.delete(row)
        if stream == "responses":
            for row in table.some(4):
                table.add_note(row)
    assert account.tables[stream].versions() == memory.tables[stream].versions()
    middle = sorted(row.created for row in memory.tables[stream].rows.values())[30] // SECOND
    for order in ("asc", "desc"):
        for page in (1, 2, 3):
            query = {
                "sort_key": "updated_at" if stream == "end_users" else "created_at",
                "sort_order": order,
                "page": page,
                "per_page": 20,
                "created[gte]": middle,
            }
            assert get_page(account, stream, **query) == get_page(memory, stream, **query)


def test_rows_inserted_by_one_statement_share_both_timestamps(account: DatabaseAccount) -> None:
    before = account.end_users.insert_many(20, BEGIN, apart=SECOND)
    tied = account.end_users.insert_many(30, BEGIN + 20 * SECOND + 7, without_email=0.3)
    rows = [account.end_users.rows[row_id] for row_id in tied]
    assert {(row.created, row.updated) for row in rows} == {(BEGIN + 20 * SECOND + 7,) * 2}
    assert sum(row.body["email"] is None for row in rows) == 9
    assert len({row.body["email"] for row in rows}) == 22
    page = get_page(account, "end_users", sort_key="created_at", per_page=50)
    assert [row["id"] for row in page[:20]] == list(before)
    assert {row["id"] for row in page[20:]} == set(tied)
    second = {"updated[gte]": _BEGIN + 20, "updated[lt]": _BEGIN + 21}
    assert {row["id"] for row in get_page(account, "end_users", per_page=50, **second)} == set(tied)


def test_changes_in_a_transaction_appear_when_it_commits(account: DatabaseAccount) -> None:
    row = account.responses.insert(BEGIN, BEGIN + 9 * SECOND)
    with account.responses.transaction() as writer:
        writer.update(row, BEGIN + 5 * SECOND)
        late = account.responses.prepared(BEGIN + 5 * SECOND)
        writer.insert(late)
        assert account.responses.rows == {row.id: row}
    assert {stored.id: stored.updated for stored in account.responses.rows.values()} == {
        row.id: BEGIN + 5 * SECOND,
        late.id: BEGIN + 5 * SECOND,
    }


def test_a_scan_starts_where_another_one_stopped(database: postgres.Database) -> None:
    with DatabaseAccount(database.url, options=Options(indexes=False, other_scans=True)) as account:
        account.end_users.enlarge()
        account.end_users.insert_many(1_000, BEGIN)
        pages = [get_page(account, "end_users", sort_key="created_at", per_page=50) for _ in range(6)]
    assert len({page[0]["id"] for page in pages}) > 1
