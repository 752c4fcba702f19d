"""A sync and the next one together emit every row of the account, even while it changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.tap import Run, catalog_of, full_table, seen, tap
from tools.sandbox import Account, Sandbox
from tools.sandbox.account import NOW, SECOND, in_utc
from tools.sandbox.server import Clock

pytestmark = pytest.mark.usefixtures("concurrency")

CHANGES_PER_REQUEST = {"updates": 6, "deletes": 0.5}


def sync(sandbox: Sandbox, state: Any = None, **options: Any) -> Run:
    """Run the tap, and check that it succeeds."""
    run = tap(config={**sandbox.config, **options.pop("settings", {})}, state=state, **options)
    assert run.status == 0, run.log
    return run


def max_requests(rows: int, concurrency: int) -> float:
    """Return how many requests some rows may take. Cutting partitions takes a few more."""
    return (1.05 if concurrency == 1 else 1.1) * rows / 50


@pytest.mark.parametrize("stream", ["end_users", "responses", "declines"])
def test_a_full_sync_emits_every_row_once_in_few_requests(stream: str, concurrency: int) -> None:
    with Sandbox(Account(**{stream: 3_000}), Clock(NOW)) as sandbox:
        run = sync(sandbox)
    records = run.records(stream)
    assert seen(records) == sandbox.account.tables[stream].versions()
    assert len(records) == 3_000
    assert len(sandbox.pages(stream)) <= max_requests(3_000, concurrency)


def test_thousands_of_rows_in_one_second_take_no_more_requests_than_others(concurrency: int) -> None:
    account = Account(3_000)
    account.crowd(account.end_users, 4_000)
    with Sandbox(account, Clock(NOW), shuffle_ties=True, whole_seconds=True) as sandbox:
        records = sync(sandbox).records("end_users")
    assert seen(records) == account.end_users.versions()
    assert len(records) == 7_000
    assert len(sandbox.pages("end_users")) <= max_requests(7_000, concurrency)


@pytest.mark.parametrize("stream", ["end_users", "responses"])
def test_a_second_that_cannot_be_proven_complete_fails_its_stream_once_and_blocks_no_sync(stream: str) -> None:
    account = Account(300, 300, declines=60)
    table = account.tables[stream]
    second = account.crowd(table, 2_000, created_too=True)
    if stream == "responses":
        for row in table.rows.values():
            row.body["excluded_from_calculations"] = row.id % 3 == 0
    with Sandbox(account, Clock(NOW)) as sandbox:
        first = tap(config=sandbox.config)
        second_sync = sync(sandbox, first.state)
    assert first.status == 1
    [error] = first.errors
    at = in_utc(second * SECOND)
    assert error == (
        f"{stream}: 2000 rows updated at {at} and created at {at} were read, and there may be more: page 30 is full. "
        "The next sync goes on behind it"
    )
    for name, table_ in account.tables.items():
        assert seen(first.records(name)) == table_.versions()
    assert [len(second_sync.records(name)) for name in account.tables] == [1, 1, 1]


def test_a_full_table_with_a_second_that_cannot_be_proven_complete_keeps_what_the_target_has() -> None:
    account = Account(60, 60)
    account.crowd(account.responses, 1_600, created_too=True)
    with Sandbox(account, Clock(NOW)) as sandbox:
        run = tap(config=sandbox.config, catalog=full_table("end_users", "responses"))
    assert run.status == 1
    [error] = run.errors
    assert error.endswith("The target keeps the rows of earlier syncs")
    assert seen(run.records("responses")) == account.responses.versions()
    assert [message["stream"] for message in run.of_type("ACTIVATE_VERSION")] == ["end_users"]


def test_a_sync_without_changes_takes_one_request_for_each_stream() -> None:
    with Sandbox(Account(1_000, 1_000, declines=200), Clock(NOW)) as sandbox:
        state = sync(sandbox).state
        before = len(sandbox.requests)
        again = sync(sandbox, state)
    paths = [request.path for request in sandbox.requests[before:]]
    assert paths == ["/oauth/token", "/v1/declines", "/v1/end_users", "/v1/responses"]
    assert len(again.of_type("RECORD")) == 3  # The rows of the bookmarks' seconds.
    assert again.state == state


def test_a_second_sync_emits_the_changed_rows_in_few_requests() -> None:
    account = Account(1_200)
    with Sandbox(account, Clock(NOW)) as sandbox:
        state = sync(sandbox).state
        sandbox.clock.advance(86_400)
        changed = account.end_users.some(150)
        for second, row in enumerate(changed):
            account.end_users.update(row, int(sandbox.clock() - second * 60) * SECOND)
        before = len(sandbox.pages("end_users"))
        records = sync(sandbox, state).records("end_users")
    assert {row.id for row in changed} <= {record["id"] for record in records}
    assert len(records) <= 151
    assert len(sandbox.pages("end_users")) - before <= 8


@pytest.mark.parametrize(
    ("concurrency", "seed"), [*((1, seed) for seed in range(10)), (8, 10), (8, 11), (8, 12)], indirect=["concurrency"]
)
def test_no_row_is_lost_while_several_rows_change_at_every_request(seed: int) -> None:
    account = Account(12_000, seed=seed)
    before = account.end_users.versions()
    with Sandbox(account, Clock(NOW), **CHANGES_PER_REQUEST) as sandbox:
        first = sync(sandbox)
        after = account.end_users.versions()
        sandbox.switches.updates = sandbox.switches.deletes = 0
        second = sync(sandbox, first.state)
    read = {record["id"] for record in first.records("end_users")}
    assert {row_id for row_id, version in after.items() if before.get(row_id) == version} <= read
    target = seen(first.records("end_users") + second.records("end_users"))
    assert {row_id: target.get(row_id) for row_id in after} == after


@pytest.mark.parametrize(
    "options",
    [
        pytest.param({"updated": 400}, id="updated in one second"),
        pytest.param(
            {"updated": 400, "shuffle_ties": True, "whole_seconds": True},
            id="updated in one second, ties in any order",
        ),
        pytest.param({"created": 400}, id="created and updated in one second"),
        pytest.param(
            {"created": 120, "shuffle_ties": True, "whole_seconds": True},
            id="created and updated in one second, ties in any order",
        ),
    ],
)
def test_two_syncs_read_every_row_of_an_account_with_ties_that_is_in_use(
    options: dict[str, Any],
) -> None:
    account = Account(1_000, 500, declines=200)
    switches = dict(options)
    account.crowd(account.end_users, switches.pop("updated", 0))
    account.crowd(account.end_users, switches.pop("created", 0), created_too=True)
    account.crowd(account.responses, 200)
    account.crowd(account.responses, 80, created_too=True)
    account.crowd(account.declines, 60)
    with Sandbox(account, Clock(NOW), **CHANGES_PER_REQUEST, inserts=1, **switches) as sandbox:
        first = sync(sandbox)
        sandbox.switches.updates = sandbox.switches.deletes = sandbox.switches.inserts = 0
        second = sync(sandbox, first.state)
    for name, table in account.tables.items():
        target = seen(first.records(name) + second.records(name))
        assert {row_id: target.get(row_id) for row_id in table.rows} == table.versions()


def test_a_row_that_appears_late_is_emitted_by_the_next_sync() -> None:
    account = Account(100)
    with Sandbox(account, Clock(NOW)) as sandbox:
        newest = account.end_users.insert(int(NOW - 5) * SECOND)
        first = sync(sandbox)
        assert newest.id in seen(first.records("end_users"))
        late = account.end_users.insert(int(NOW - 65) * SECOND)
        sandbox.clock.advance(3_600)
        second = sync(sandbox, first.state)
        third = sync(sandbox, second.state)
    assert first.bookmark("end_users") <= "2025-12-31T00:11:40Z"  # 300 seconds before the sync.
    assert set(seen(second.records("end_users"))) >= {late.id, newest.id}
    assert set(seen(third.records("end_users"))) == {newest.id}


def test_the_bookmark_is_the_last_update_if_it_is_older_than_the_lookback_window() -> None:
    account = Account(50)
    with Sandbox(account, Clock(NOW)) as sandbox:
        run = sync(sandbox)
    assert run.bookmark("end_users") == max(record["updated_at"] for record in run.records("end_users"))


def test_a_wider_lookback_window_is_reread_at_once() -> None:
    account = Account()
    with Sandbox(account, Clock(NOW)) as sandbox:
        hour_ago = account.end_users.insert(int(NOW - 3_600) * SECOND)
        account.end_users.insert(int(NOW - 600) * SECOND)
        state = sync(sandbox).state
        wider = sync(sandbox, state, settings={"lookback_window": 7_200})
    assert hour_ago.id in seen(wider.records("end_users"))


def test_a_bookmark_within_the_lookback_window_is_moved_back_to_its_start() -> None:
    with Sandbox(Account(), Clock(NOW)) as sandbox:
        run = sync(sandbox, {"end_users": "2025-12-31T01:00:00Z"})  # Some 45 minutes after now.
    assert "2025-12-31T00:11" < run.bookmark("end_users") < "2025-12-31T00:12"


def test_a_start_date_within_the_lookback_window_is_respected() -> None:
    account = Account()
    with Sandbox(account, Clock(NOW)) as sandbox:
        account.end_users.insert(int(NOW - 200) * SECOND)
        newer = account.end_users.insert(int(NOW - 50) * SECOND)
        records = sync(sandbox, settings={"start_date": "2025-12-31T00:15:00Z"}).records("end_users")
    assert set(seen(records)) == {newer.id}


def test_the_last_message_is_a_state_even_if_it_is_unchanged() -> None:
    with Sandbox(Account(10), Clock(NOW)) as sandbox:
        state = sync(sandbox).state
        again = sync(sandbox, state)
    assert again.of_type("RECORD")
    assert again.messages[-1] == {"type": "STATE", "value": state}


def test_a_state_is_written_at_least_every_500_records_and_at_the_end() -> None:
    with Sandbox(Account(1_400, 700), Clock(NOW)) as sandbox:
        run = sync(sandbox)
    records, most_records = 0, 0
    for message in run.messages:
        records = 0 if message["type"] == "STATE" else records + (message["type"] == "RECORD")
        most_records = max(most_records, records)
    assert most_records <= 500
    assert run.messages[-1]["type"] == "STATE"


def test_start_date_excludes_rows_updated_earlier() -> None:
    with Sandbox(Account(500), Clock(NOW)) as sandbox:
        records = sync(sandbox, settings={"start_date": "2025-06-01"}).records("end_users")
    table = sandbox.account.end_users.versions()
    assert seen(records) == {row_id: row for row_id, row in table.items() if row[0] >= "2025-06-01T00:00:00Z"}


def test_everything_is_read_without_a_start_date() -> None:
    account = Account(50)
    account.end_users.insert(SECOND)
    with Sandbox(account, Clock(NOW)) as sandbox:
        config = {name: value for name, value in sandbox.config.items() if name != "start_date"}
        run = tap(config=config)
    assert seen(run.records("end_users")) == account.end_users.versions()


def test_a_full_table_sync_reads_everything_and_then_lets_the_target_delete_the_rest() -> None:
    account = Account(700)
    with Sandbox(account, Clock(NOW), **CHANGES_PER_REQUEST) as sandbox:
        state = sync(sandbox).state
        before = set(account.end_users.rows)
        run = sync(sandbox, state, catalog=full_table("end_users"))
    records = run.of_type("RECORD")
    (activate,) = run.of_type("ACTIVATE_VERSION")
    assert {message["version"] for message in records} == {activate["version"]}
    position = run.messages.index(activate)
    assert all(message["type"] != "RECORD" for message in run.messages[position:])
    # Also those that were updated meanwhile: the target drops every row that the sync does not emit.
    assert before & set(account.end_users.rows) <= {message["record"]["id"] for message in records}
    assert not run.of_type("RECORD", "responses")
    assert run.state["bookmarks"]["end_users"] == state["bookmarks"]["end_users"]


def test_a_full_table_sync_respects_the_start_date() -> None:
    with Sandbox(Account(500), Clock(NOW)) as sandbox:
        run = sync(sandbox, settings={"start_date": "2025-06-01"}, catalog=full_table("end_users"))
    table = sandbox.account.end_users.versions()
    expected = {row_id: row for row_id, row in table.items() if row[0] >= "2025-06-01T00:00:00Z"}
    assert seen(run.records("end_users")) == expected


def test_a_failed_full_table_sync_deletes_nothing_in_the_target() -> None:
    with Sandbox(Account(700), Clock(NOW)) as sandbox:
        sandbox.fault = lambda path, n: "500" if path == "/v1/end_users" and n > 5 else ""
        run = tap(config=sandbox.config, catalog=full_table("end_users"), sleepless=True)
    assert run.status == 1
    assert run.of_type("RECORD")
    assert not run.of_type("ACTIVATE_VERSION")


@pytest.mark.parametrize("stream", ["end_users", "responses", "declines"])
def test_a_full_table_sync_reads_rows_with_future_timestamps(stream: str) -> None:
    account = Account(**{stream: 60})
    future = account.tables[stream].insert(int(NOW + 400 * 86_400) * SECOND)
    for switches in ({}, {"ignores_updated": True}):
        with Sandbox(account, Clock(NOW), **switches) as sandbox:
            run = sync(sandbox, catalog=full_table(stream))
        assert run.records(stream)[-1]["id"] == future.id
        assert len(run.records(stream)) == 61


def test_a_full_table_sync_reads_rows_with_timestamps_from_a_fast_clock() -> None:
    account = Account()
    with Sandbox(account, Clock(NOW)) as sandbox:
        row = account.end_users.insert(int(NOW + 900) * SECOND)
        assert set(seen(sync(sandbox, catalog=full_table("end_users")).records("end_users"))) == {row.id}


def test_records_are_emitted_even_if_batches_are_configured(tmp_path: Path) -> None:
    batches = {"encoding": {"format": "jsonl", "compression": "gzip"}, "storage": {"root": tmp_path.as_uri()}}
    with Sandbox(Account(70), Clock(NOW)) as sandbox:
        run = sync(sandbox, settings={"batch_config": batches})
    assert len(run.records("end_users")) == 70
    assert not run.of_type("BATCH")
    assert "Ignoring unknown setting batch_config" in run.log


def test_an_incremental_sync_deletes_nothing_in_the_target() -> None:
    with Sandbox(Account(10, 10), Clock(NOW)) as sandbox:
        assert not sync(sandbox).of_type("ACTIVATE_VERSION")


def test_a_catalog_without_keys_does_not_change_how_a_stream_is_read() -> None:
    catalog = catalog_of("end_users", "responses")
    for entry in catalog["streams"]:
        for key in ("key_properties", "replication_key", "replication_method"):
            entry.pop(key)
        entry["metadata"] = [{"breadcrumb": [], "metadata": {"selected": True}}]
    with Sandbox(Account(10), Clock(NOW)) as sandbox:
        run = sync(sandbox, catalog=catalog)
    (schema,) = run.of_type("SCHEMA", "end_users")
    assert schema["key_properties"] == ["id"]
    assert run.bookmark("end_users")


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


@pytest.mark.parametrize("key", ["id", "updated_at"])
@pytest.mark.parametrize("is_in_schema", [True, False], ids=["deselected", "not in the schema"])
def test_a_catalog_cannot_deselect_the_keys(key: str, *, is_in_schema: bool) -> None:
    catalog = catalog_of("end_users", "responses")
    for entry in catalog["streams"]:
        for item in entry["metadata"]:
            if item["breadcrumb"] == ["properties", key]:
                item["metadata"] = {"inclusion": "available", "selected": not is_in_schema}
            elif not item["breadcrumb"]:
                item["metadata"]["selected"] = True
        if not is_in_schema:
            del entry["schema"]["properties"][key]
    with Sandbox(Account(120), Clock(NOW)) as sandbox:
        run = sync(sandbox, catalog=catalog)
    assert seen(run.records("end_users")) == sandbox.account.end_users.versions()
    assert key in run.of_type("SCHEMA", "end_users")[0]["schema"]["properties"]


def test_a_field_that_the_catalog_lacks_or_mistypes_is_left_out_or_keeps_its_type() -> None:
    catalog = catalog_of("end_users", "responses")
    for entry in catalog["streams"]:
        entry["metadata"] = [{"breadcrumb": [], "metadata": {"selected": True}}]
        del entry["schema"]["properties"]["email" if entry["tap_stream_id"] == "end_users" else "text"]
        entry["schema"]["properties"]["external_created_at"] = {"type": "string"}
    with Sandbox(Account(20), Clock(NOW)) as sandbox:
        run = sync(sandbox, catalog=catalog)
    assert "email" not in run.of_type("SCHEMA", "end_users")[0]["schema"]["properties"]
    for record in run.records("end_users"):
        assert "email" not in record
        assert isinstance(record["external_created_at"], int)


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
