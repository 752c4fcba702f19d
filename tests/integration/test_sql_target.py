"""A target that adds nothing to the SDK's own SQL keeps what exists, and finds what was deleted."""

from __future__ import annotations

import io
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
import yaml
from singer_sdk.sql import SQLConnector, SQLSink, SQLTarget
from typing_extensions import override

from tests.tap import Run, full_table, selecting, tap
from tools.docs import block
from tools.sandbox import Account, Sandbox
from tools.sandbox.account import NOW, SECOND
from tools.sandbox.server import Clock

STREAMS = ("end_users", "responses")


class SqliteConnector(SQLConnector):
    @override
    def get_sqlalchemy_url(self, config: Any) -> str:
        return f"sqlite:///{config['file']}"


class SqliteSink(SQLSink[SqliteConnector]):
    connector_class = SqliteConnector

    @override
    def preprocess_record(self, record: Any, context: Any) -> dict[str, Any]:
        return {
            name: json.dumps(value, default=str) if isinstance(value, dict | list) else value
            for name, value in record.items()
        }

    @override
    def generate_insert_statement(self, full_table_name: Any, schema: Any) -> Any:
        statement = super().generate_insert_statement(full_table_name, schema)
        assert isinstance(statement, sqlalchemy.Insert)
        return statement.prefix_with("OR REPLACE")


class SqliteTarget(SQLTarget):
    name = "target-sqlite"
    default_sink_class = SqliteSink


def load(file: Path, output: Run, *, activate: bool = True) -> None:
    """Load the output of a run into a database."""
    config = {"file": str(file), "add_record_metadata": True, "process_activate_version_messages": activate}
    SqliteTarget(config=config).listen(io.StringIO(output.out))


def query(file: Path, text: str) -> list[Any]:
    with closing(sqlite3.connect(file)) as connection:
        return [row[0] for row in connection.execute(text)]


@pytest.fixture(scope="module")
def loads() -> list[tuple[Run, dict[str, set[int]]]]:
    """Incremental syncs and full tables by turns, with deletions before each full table, and the ids that exist."""
    account = Account(12, 12)
    runs = []

    def sync(sandbox: Sandbox, catalog: Any, state: Any = None) -> Run:
        run = tap(config=sandbox.config, catalog=catalog, state=state, now=sandbox.clock())
        runs.append((run, {name: {*table.rows} for name, table in account.tables.items()}))
        sandbox.clock.advance(86_400)
        return run

    with Sandbox(account, Clock(NOW)) as sandbox:
        last = sync(sandbox, selecting(*STREAMS))
        for number in (3, 7):
            now = int(sandbox.clock()) * SECOND
            added = account.responses.insert(now)
            account.end_users.update(account.end_users.rows[number], now)
            account.end_users.update(account.end_users.rows[number + 1], now)
            last = sync(sandbox, selecting(*STREAMS), last.state)
            account.end_users.delete(account.end_users.rows[number])  # It was updated after the last full table.
            account.responses.delete(added)
            account.responses.delete(account.responses.rows[number])
            sync(sandbox, full_table(*STREAMS))
    return runs


def test_incremental_syncs_keep_their_rows_and_full_tables_mark_what_is_gone(
    loads: list[tuple[Run, dict[str, set[int]]]], tmp_path: Path
) -> None:
    for run, ids in loads:
        load(tmp_path / "database", run)
        for stream in STREAMS:
            unmarked = query(tmp_path / "database", f"SELECT id FROM {stream} WHERE _sdc_deleted_at IS NULL")  # noqa: S608
            assert sorted(unmarked) == sorted(ids[stream])


def test_text_keys_get_the_documented_length_from_a_catalog(tmp_path: Path) -> None:
    lengths = yaml.safe_load(block("maxLength"))["schema"]
    catalog = selecting(*lengths)
    for entry in catalog["streams"]:
        for name, length in lengths.get(entry["tap_stream_id"], {}).items():
            entry["schema"]["properties"][name] |= length
    with Sandbox(Account(0, 0)) as sandbox:
        load(tmp_path / "database", tap(config=sandbox.config, catalog=catalog))
    for stream, keys in lengths.items():
        types = query(tmp_path / "database", f"SELECT type FROM pragma_table_info('{stream}') WHERE pk")  # noqa: S608
        assert types == [f"VARCHAR({length['maxLength']})" for length in keys.values()]


def test_the_documented_query_finds_deleted_rows_if_the_target_does_not_mark_them(
    loads: list[tuple[Run, dict[str, set[int]]]], tmp_path: Path
) -> None:
    everything: set[int] = set()
    deleted: set[int] = set()
    for run, ids in loads:
        load(tmp_path / "database", run, activate=False)
        everything |= ids["responses"]
        found = query(tmp_path / "database", block("max(_sdc_table_version)"))
        if run.of_type("ACTIVATE_VERSION"):
            deleted = everything - ids["responses"]
        assert sorted(found) == sorted(deleted)
    assert len(deleted) == 4
