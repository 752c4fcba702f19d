"""A sync and the next one together emit every row of the account, even while it changes."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

from tests.tap import Run, catalog_of, full_table, seen, selecting, tap
from tools.sandbox import Account, Sandbox
from tools.sandbox.account import END, NOW, SECOND, in_utc
from tools.sandbox.server import Clock

CHANGES_PER_REQUEST = {"updates": 6, "deletes": 0.5, "inserts": 1}
LISTS = ("end_users", "responses", "declines")
DAY = 86_400


def run_tap(sandbox: Sandbox, state: Any = None, **options: Any) -> Run:
    """Run the tap on a machine whose clock shows the server's time."""
    config = {**sandbox.config, **options.pop("settings", {})}
    return tap(config=config, state=state, **{"now": sandbox.clock(), **options})


def sync(sandbox: Sandbox, state: Any = None, **options: Any) -> Run:
    """Run the tap, and check that it succeeds."""
    run = run_tap(sandbox, state, **options)
    assert run.status == 0, run.log
    return run


# Completeness


@pytest.mark.parametrize(
    "switches", [{}, {"lenient": True, "shuffle_ties": True, "whole_seconds": True}], ids=["strict", "lenient"]
)
def test_two_syncs_and_a_full_table_have_every_row_of_an_account_in_use(switches: dict[str, Any]) -> None:
    account = Account(300, 200, declines=60)
    account.crowd(account.end_users, 80)
    account.crowd(account.end_users, 60, created_too=True)
    account.crowd(account.responses, 60, created_too=True)
    account.crowd(account.declines, 60, created_too=True)
    before = {name: table.versions() for name, table in account.tables.items()}
    with Sandbox(account, Clock(NOW), **CHANGES_PER_REQUEST, **switches) as sandbox:
        first = run_tap(sandbox)
        after = {name: table.versions() for name, table in account.tables.items()}
        sandbox.switches.updates = sandbox.switches.deletes = sandbox.switches.inserts = 0
        second = sync(sandbox, first.state)
        full = sync(sandbox, second.state, catalog=full_table(*LISTS))
    for name, table in account.tables.items():
        unchanged = {id_ for id_, version in after[name].items() if before[name].get(id_) == version}
        assert unchanged <= {record["id"] for record in first.records(name)}
        target = seen(first.records(name) + second.records(name))
        assert table.rows.keys() <= target.keys()
        if name == "end_users":
            assert {row_id: target[row_id] for row_id in table.rows} == table.versions()
        assert seen(full.records(name)) == table.versions()
    assert full.state == second.state


@pytest.mark.parametrize("switches", [{"short_pages": 0.3}, {"page_size": 25}], ids=["short once", "a cap of 25"])
@pytest.mark.parametrize("hidden", [0, 30])
def test_no_row_is_lost_where_pages_have_fewer_rows_than_were_asked_for(switches: dict[str, Any], hidden: int) -> None:
    account = Account(400, 400, declines=100)
    for table in account.tables.values():
        table.hidden = {row.id for row in table.some(hidden)}
    with Sandbox(account, Clock(NOW), **switches) as sandbox:
        run = sync(sandbox)
        full = sync(sandbox, catalog=full_table(*LISTS))
    for name, table in account.tables.items():
        assert seen(run.records(name)) == seen(full.records(name)) == table.versions()


@pytest.mark.parametrize("stream", ["end_users", "responses"])
def test_a_second_that_cannot_be_proven_complete_fails_its_stream_once_and_blocks_no_sync(stream: str) -> None:
    account = Account(60, 60, declines=60)
    second = account.crowd(account.tables[stream], 320, created_too=True)
    with Sandbox(account, Clock(NOW), page_size=10) as sandbox:  # So page 30 ends with row 300.
        first = run_tap(sandbox)
        again = sync(sandbox, first.state)
        full = run_tap(sandbox, catalog=full_table(*LISTS))
    assert (first.status, full.status) == (1, 1)
    [error], [full_error] = first.errors, full.errors
    at = in_utc(second * SECOND)
    assert error.startswith(f"{stream}: ")
    assert f"created at {at} were read, and there may be more: " in error
    assert error.endswith(". The next sync continues after that second")
    assert not again.of_type("RECORD")
    assert full_error.endswith(". The target keeps the rows of earlier syncs")
    assert {message["stream"] for message in full.of_type("ACTIVATE_VERSION")} == {*LISTS} - {stream}


@pytest.mark.parametrize("stream", LISTS)
def test_a_row_that_is_committed_late_comes_with_the_next_sync(stream: str) -> None:
    account = Account(**{stream: 100})
    table = account.tables[stream]
    with Sandbox(account, Clock(NOW)) as sandbox:
        newest = table.insert(int(NOW - 5) * SECOND)
        first = sync(sandbox)
        assert newest.id in seen(first.records(stream))
        late = table.insert(int(NOW - 65) * SECOND)
        sandbox.clock.advance(3_600)
        second = sync(sandbox, first.state)
        sandbox.clock.advance(3_600)
        third = sync(sandbox, second.state)
    assert set(seen(second.records(stream))) == {late.id, newest.id}
    assert not third.records(stream)


@pytest.mark.parametrize(
    "switches",
    [
        {"date_skew": 30 * DAY},
        {"date_skew": -30 * DAY},
        {"date": "Fri, 31 Dec 9999 23:59:59 GMT"},
        {"date": "Wed, 31 Dec 2025 00:16:40"},
    ],
    ids=["30 days ahead", "30 days behind", "year 9999", "no zone"],
)
def test_a_wrong_date_loses_no_row(switches: dict[str, Any]) -> None:
    account = Account(60, 60, declines=60)
    with Sandbox(account, Clock(NOW), **switches) as sandbox:
        first = sync(sandbox, env={"TZ": "America/Los_Angeles"})
        late = [table.insert(int(NOW - 100) * SECOND).id for table in account.tables.values()]
        sandbox.clock.advance(60)
        second = sync(sandbox, first.state, env={"TZ": "America/Los_Angeles"})
        full = sync(sandbox, catalog=full_table(*LISTS))
    for (name, table), row_id in zip(account.tables.items(), late, strict=True):
        assert row_id in seen(second.records(name))
        assert seen(first.records(name) + second.records(name)) == table.versions()
        assert first.bookmark(name) <= second.bookmark(name) <= in_utc(int(NOW) * SECOND)
    assert all(abs(message["version"] - NOW) < 600 for message in full.of_type("ACTIVATE_VERSION"))
    is_noted = abs(switches.get("date_skew", 0)) > 300
    assert first.log.count("bookmarks go by the earlier one") == is_noted


# Requests


@pytest.mark.parametrize("stream", LISTS)
def test_a_full_sync_emits_every_row_once_in_few_requests(stream: str) -> None:
    with Sandbox(Account(**{stream: 3_000}), Clock(NOW)) as sandbox:
        records = sync(sandbox).records(stream)
    assert seen(records) == sandbox.account.tables[stream].versions()
    assert len(records) == 3_000
    assert len(sandbox.pages(stream)) <= 66


def test_a_sync_without_changes_takes_one_request_for_each_stream() -> None:
    with Sandbox(Account(1_000, 1_000, declines=200), Clock(NOW)) as sandbox:
        state = sync(sandbox).state
        before = len(sandbox.requests)
        sandbox.clock.advance(3_600)
        again = sync(sandbox, state)
    paths = [request.path for request in sandbox.requests[before:]]
    assert paths == ["/oauth/token", "/v1/declines", "/v1/end_users", "/v1/responses"]
    assert not again.of_type("RECORD")
    assert again.messages[-1]["type"] == "STATE"
    assert all(again.bookmark(name) == state["bookmarks"][name]["replication_key_value"] for name in LISTS)


def test_a_second_sync_emits_the_changed_end_users_in_few_requests() -> None:
    account = Account(1_200)
    with Sandbox(account, Clock(NOW)) as sandbox:
        state = sync(sandbox).state
        sandbox.clock.advance(DAY)
        changed = account.end_users.some(150)
        for second, row in enumerate(changed):
            account.end_users.update(row, int(sandbox.clock() - second * 60) * SECOND)
        before = len(sandbox.pages("end_users"))
        records = sync(sandbox, state).records("end_users")
    assert {record["id"] for record in records} == {row.id for row in changed}
    assert len(records) == 150
    assert len(sandbox.pages("end_users")) - before <= 6


@pytest.mark.parametrize("days", [700, 29], ids=["over two years", "all in the days of a recheck"])
def test_a_first_sync_that_is_killed_again_and_again_continues_where_it_was(days: int) -> None:
    account = Account()
    for _ in range(5_000):
        account.responses.insert(END - account.rng.randrange(days * DAY * SECOND))
    catalog = selecting("responses")
    with Sandbox(account, Clock(NOW)) as sandbox:
        state, records, bookmarks = None, list[dict[str, Any]](), [""]
        for _ in range(8):
            begun = len(sandbox.pages("responses"))
            sandbox.fault = partial(_denied_after, begun + 12)
            run = run_tap(sandbox, state, catalog=catalog)
            # A kill leaves what was written before the last records, and none of what an error writes after them.
            last_record = max(number for number, line in enumerate(run.messages) if line["type"] == "RECORD")
            state = [line["value"] for line in run.messages[:last_record] if line["type"] == "STATE"][-1]
            records += run.records("responses")
            bookmarks.append(state["bookmarks"]["responses"]["replication_key_value"])
        sandbox.fault = lambda _path, _number: ""
        last = sync(sandbox, state, catalog=catalog)
    assert bookmarks == sorted({*bookmarks})
    assert seen(records + last.records("responses")) == account.responses.versions()
    assert len(sandbox.pages("responses")) <= 1.3 * 5_000 / 49


def _denied_after(requests: int, path: str, number: int) -> str:
    return "403" if path == "/v1/responses" and number > requests else ""


# Late changes


def test_late_notes_and_back_dated_rows_come_with_the_next_days_first_sync_or_with_a_full_table() -> None:
    account = Account(responses=400, declines=100)
    responses, declines = account.responses, account.declines
    recent, older = (responses.insert(END - days * DAY * SECOND) for days in (10, 40))
    with Sandbox(account, Clock(NOW)) as sandbox:
        first = sync(sandbox)
        for row in (recent, older):
            responses.add_note(row)
        imported, long_ago = (declines.insert(END - days * DAY * SECOND) for days in (10, 40))
        sandbox.clock.advance(3_600)
        same_day = sync(sandbox, first.state)
        sandbox.clock.advance(DAY)
        before = len(sandbox.pages("responses"))
        next_day = sync(sandbox, same_day.state)
        requests = len(sandbox.pages("responses")) - before
        sandbox.clock.advance(3_600)
        later = sync(sandbox, next_day.state)
        full = sync(sandbox, later.state, catalog=full_table("responses", "declines"))
    assert not same_day.of_type("RECORD")
    changed = seen(next_day.records("responses"))
    assert changed[recent.id] == responses.versions()[recent.id]
    assert older.id not in changed
    assert requests <= len(changed) / 50 + 3
    assert imported.id in seen(next_day.records("declines"))
    assert long_ago.id not in seen(next_day.records("declines"))
    assert "responses: read the last 30 days again, " in next_day.log
    assert not later.of_type("RECORD")
    assert seen(full.records("responses")) == responses.versions()
    assert seen(full.records("declines")) == declines.versions()


@pytest.mark.parametrize("stream", LISTS)
def test_a_full_table_lets_the_target_delete_what_the_account_deleted_and_leaves_the_bookmark_alone(
    stream: str,
) -> None:
    account = Account(**{stream: 160})
    table = account.tables[stream]
    future = table.insert(int(NOW + 400 * DAY) * SECOND)
    with Sandbox(account, Clock(NOW)) as sandbox:
        state = sync(sandbox).state
        for row in [*table.rows.values()][:20]:
            table.delete(row)
        run = sync(sandbox, state, catalog=full_table(stream))
    records = run.of_type("RECORD")
    (activate,) = run.of_type("ACTIVATE_VERSION")
    assert {message["version"] for message in records} == {activate["version"]}
    assert activate["stream"] == stream
    assert all(message["type"] != "RECORD" for message in run.messages[run.messages.index(activate) :])
    assert seen(run.records(stream)) == table.versions()
    assert future.id in seen(run.records(stream))
    assert run.state["bookmarks"][stream] == state["bookmarks"][stream]


# Ranges and states


@pytest.mark.parametrize("is_full_table", [False, True])
def test_start_date_limits_end_users_by_update_and_the_others_by_creation(*, is_full_table: bool) -> None:
    catalog = full_table(*LISTS) if is_full_table else None
    with Sandbox(Account(300, 300, declines=100), Clock(NOW)) as sandbox:
        run = sync(sandbox, settings={"start_date": "2025-06-01"}, catalog=catalog)
    start = int(datetime(2025, 6, 1, tzinfo=UTC).timestamp()) * SECOND
    for name, table in sandbox.account.tables.items():
        expected = {
            row.id for row in table.rows.values() if (row.updated if name == "end_users" else row.created) >= start
        }
        assert {record["id"] for record in run.records(name)} == expected


def test_a_state_is_written_at_least_every_500_records_and_at_the_end() -> None:
    with Sandbox(Account(1_400, 700), Clock(NOW)) as sandbox:
        run = sync(sandbox)
    records, most_records = 0, 0
    for message in run.messages:
        records = 0 if message["type"] == "STATE" else records + (message["type"] == "RECORD")
        most_records = max(most_records, records)
    assert most_records <= 500
    assert run.messages[-1]["type"] == "STATE"


# Catalogs and the SDK's settings


def test_streams_and_fields_can_be_deselected_at_every_depth() -> None:
    catalog = catalog_of("end_users", "responses")
    for entry in catalog["streams"]:
        for item in entry["metadata"]:
            if item["breadcrumb"] in (
                [],
                ["properties", "email"],
                ["properties", "settings", "properties", "web_nps"],
            ):
                item["metadata"]["selected"] = not item["breadcrumb"] and entry["tap_stream_id"] == "end_users"
    with Sandbox(Account(5, 5), Clock(NOW)) as sandbox:
        run = sync(sandbox, catalog=catalog)
    assert not run.of_type("SCHEMA", "responses")
    (schema,) = run.of_type("SCHEMA", "end_users")
    for fields in (schema["schema"]["properties"], *run.records("end_users")):
        assert "email" not in fields
        assert "phone_number" in fields
    assert "web_nps" not in run.records("end_users")[0]["settings"]


def test_stream_maps_reach_into_properties() -> None:
    maps = {"end_users": {"department": "properties['Department']", "email": "md5(email) if email else None"}}
    with Sandbox(Account(20), Clock(NOW)) as sandbox:
        records = sync(sandbox, settings={"stream_maps": maps}).records("end_users")
    rows = sandbox.account.end_users.rows
    assert [r["department"] for r in records] == [rows[r["id"]].properties["Department"] for r in records]
    assert not any("@" in (record["email"] or "") for record in records)


def test_flattening_writes_properties_as_json_text() -> None:
    flatten = {"flattening_enabled": True, "flattening_max_depth": 3}
    with Sandbox(Account(20, 20), Clock(NOW)) as sandbox:
        run = sync(sandbox, settings=flatten)
    users, responses = sandbox.account.end_users.rows, sandbox.account.responses.rows
    for record in run.records("end_users"):
        assert json.loads(record["properties"]) == users[record["id"]].properties
        assert record["last_response__survey__channel"] == "web"
    for record in run.records("responses"):
        assert json.loads(record["end_user__properties"]) == responses[record["id"]].properties
