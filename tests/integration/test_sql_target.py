"""A target that adds nothing to the SDK's own SQL keeps what exists, and finds what was deleted."""

from __future__ import annotations

import io
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

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


def test_rows_stay_and_full_tables_mark_what_is_gone_or_else_the_documented_query_finds_it(tmp_path: Path) -> None:
    account = Account(12, 12)
    gone: set[int] = set()
    with Sandbox(account, Clock(NOW)) as sandbox:

        def sync(catalog: Any, state: Any = None) -> Run:
            run = tap(config=sandbox.config, catalog=catalog, state=state, now=sandbox.clock())
            load(tmp_path / "marked", run)
            load(tmp_path / "unmarked", run, activate=False)
            for stream in STREAMS:
                kept = query(tmp_path / "marked", f"SELECT id FROM {stream} WHERE _sdc_deleted_at IS NULL")  # noqa: S608
                assert sorted(kept) == sorted(account.tables[stream].rows)
            assert sorted(query(tmp_path / "unmarked", block("max(_sdc_table_version)"))) == sorted(gone)
            sandbox.clock.advance(86_400)
            return run

        last = sync(selecting(*STREAMS))
        for number in (3, 7):
            now = int(sandbox.clock()) * SECOND
            added = account.responses.insert(now)
            for user in (number, number + 1):
                account.end_users.update(account.end_users.rows[user], now)
            last = sync(selecting(*STREAMS), last.state)
            account.end_users.delete(account.end_users.rows[number])
            for row in (added, account.responses.rows[number]):
                account.responses.delete(row)
                gone.add(row.id)
            sync(full_table(*STREAMS))


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
