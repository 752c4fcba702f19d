"""An account whose lists are tables of a PostgreSQL database, which may return ties in any order.

Each page is a single `SELECT … ORDER BY key LIMIT … OFFSET …` without a tiebreaker. The order of rows with equal keys
therefore depends on the plan of that request: a top-N heap for a page near the head, a full sort for a later page, an
index scan, a parallel plan, or a sequential scan that starts in the middle of the table.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import psycopg
from psycopg import sql

from tools.sandbox.account import Account, Make, Row, Selection, Table

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_COMPARE = {"eq": "=", "lt": "<", "lte": "<=", "gt": ">", "gte": ">="}

_CREATE = """
    CREATE TABLE {table} (
        id bigint NOT NULL,
        created_at timestamptz NOT NULL,
        updated_at timestamptz NOT NULL,
        email text,
        revision integer NOT NULL,
        padding text
    ) WITH (autovacuum_enabled = off)
"""
_INSERT = """
    INSERT INTO {table}
    SELECT id, moment, moment, md5(id::text) || '@example.com', 0, repeat('x', %(padding)s)
    FROM generate_series(%(first)s, %(last)s) AS id,
        LATERAL (SELECT %(created)s + (id - %(first)s) * %(apart)s AS moment) AS moments
"""
_UPDATE = "UPDATE {table} SET updated_at = %s, revision = revision + 1 WHERE id = %s"
_SELECT = "SELECT id, created_at, updated_at, email, revision FROM {table}"
_SCAN = "SELECT padding FROM {table} OFFSET %s LIMIT 1"

_AS_IF_LARGE = {
    "min_parallel_table_scan_size": "0",
    "min_parallel_index_scan_size": "0",
    "parallel_setup_cost": "0",
    "parallel_tuple_cost": "0",
}
"""These settings make the planner treat small tables like large ones."""

_RANDOM_SETTINGS = {
    "enable_indexscan": ("on", "off"),
    "enable_bitmapscan": ("on", "off"),
    "enable_seqscan": ("on", "off"),
    "enable_sort": ("on", "off"),
    "enable_incremental_sort": ("on", "off"),
    "work_mem": ("64kB", "4MB"),
    "max_parallel_workers_per_gather": ("0", "2"),
}
"""Settings to choose from at random for each request, if plans are random."""


@dataclass(frozen=True, slots=True)
class Options:
    """How the tables are built, and what makes them hard to read."""

    indexes: bool = True
    """Whether there are indexes on `created_at` and `updated_at`."""
    random_plans: bool = False
    """Whether each request gets random planner settings. Otherwise the planner has its defaults."""
    other_scans: bool = False
    """Whether another client's sequential scan stops at a random row before each request, so that the next scan starts
    there. PostgreSQL only does so with large tables: call `DatabaseTable.enlarge`."""
    padding: int = 0
    """Bytes to add to each row, at most 7,900: then each block holds a single row."""


class DatabaseTable(Table):
    """The rows of one list, stored in a table of a database.

    A `Row` is a copy: only the methods of the table change the stored row.
    """

    def __init__(self, url: str, name: str, make: Make, rng: random.Random, options: Options) -> None:
        super().__init__(make, rng)
        self._url = url
        self._name = name
        self._options = options
        # With client-side parameters, each request is planned for its values.
        self.connection = psycopg.connect(url, autocommit=True, cursor_factory=psycopg.ClientCursor)
        self._execute("SET lock_timeout = '10s'")  # A `transaction` of the same test may have locked a row.
        # A plan that is switched off counts as so costly that its queries would be compiled.
        self._execute("SET jit = off")
        self._execute("DROP TABLE IF EXISTS {table}")  # An earlier account's.
        self._execute(_CREATE)
        self._execute("ALTER TABLE {table} ALTER padding SET STORAGE PLAIN")  # Neither compressed nor moved away.
        self._execute("CREATE UNIQUE INDEX ON {table} (id)")
        if options.indexes:
            self._execute("CREATE INDEX ON {table} (created_at)")
            self._execute("CREATE INDEX ON {table} (updated_at)")

    @property
    def rows(self) -> dict[int, Row]:
        """A copy of each row by its id."""
        return {row.id: row for row in map(_row, self._execute(_SELECT + " ORDER BY id"))}

    def page(self, selection: Selection) -> list[Row]:
        if selection.whole_seconds or selection.shuffle_ties or selection.ignores_sort:
            raise NotImplementedError("A database stores timestamps and orders rows in its own way")
        self._prepare()
        conditions = [
            f"{filter_.column}_at {_COMPARE[filter_.operator]} %({number})s"
            for number, filter_ in enumerate(selection.filters)
        ]
        bounds = {str(number): _moment(filter_.bound) for number, filter_ in enumerate(selection.filters)}
        order = f"{selection.key} {'DESC' if selection.descending else 'ASC'}"
        where = " AND ".join(conditions or ["true"])
        page = f" WHERE {where} ORDER BY {order} LIMIT {selection.limit} OFFSET {selection.offset}"
        return [_row(columns) for columns in self._execute(_SELECT + page, bounds)]

    def insert_many(self, count: int, created: int, *, apart: int = 0) -> None:
        """Insert rows with one statement, whose e-mail addresses are not in the order of the rows.

        Args:
            count: The number of rows.
            created: When the first row was created and updated.
            apart: Microseconds between the timestamps of consecutive rows. With 0, all rows have the same timestamps.
        """
        first, self._next_id = self._next_id, self._next_id + count
        values = {"first": first, "last": first + count - 1, "padding": self._options.padding}
        self._execute(_INSERT, {**values, "created": _moment(created), "apart": apart * _MICROSECOND})

    def update(self, row: Row, at: int) -> None:
        self._execute(_UPDATE, (_moment(at), row.id))

    def some(self, count: int) -> list[Row]:
        if not count:
            return []
        ids = [row_id for (row_id,) in self._execute("SELECT id FROM {table} ORDER BY id")]
        chosen = self._rng.sample(ids, min(count, len(ids)))
        return [_row(columns) for columns in self._execute(_SELECT + " WHERE id = ANY(%s)", (chosen,))]

    @contextmanager
    def transaction(self) -> Iterator[DatabaseTable]:
        """Yield the table as seen by a transaction on another connection, and commit it at the end.

        Its changes appear late, when it commits. Pass the timestamp of its start, as `now()` returns it in PostgreSQL.
        Until then, the rows that it changed are locked.
        """
        other = copy(self)
        with psycopg.connect(self._url) as other.connection:
            yield other

    def enlarge(self) -> None:
        """Add empty blocks until the table exceeds a quarter of `shared_buffers`, and scans may start anywhere.

        Then collect the statistics that the planner uses.
        """
        [[missing]] = self._execute(
            "SELECT setting::integer / 4 + 1 - pg_relation_size(%s::regclass) / current_setting('block_size')::integer"
            " FROM pg_settings WHERE name = 'shared_buffers'",
            (self._name,),
        )
        self._execute(
            "INSERT INTO {table} SELECT -number, 'epoch', 'epoch', NULL, 0, repeat('x', 7900)"
            " FROM generate_series(1, %s) AS number",
            (missing,),
        )
        self._execute("DELETE FROM {table} WHERE id < 0")
        self._execute("ANALYZE {table}")

    def _prepare(self) -> None:
        """Influence the order of the next page."""
        if self._options.random_plans:
            chosen = {name: self._rng.choice(values) for name, values in _RANDOM_SETTINGS.items()}
            for name, value in {**_AS_IF_LARGE, **chosen}.items():
                self._execute(f"SET {name} = '{value}'")
        if self._options.other_scans:
            self._execute(_SCAN, (self._rng.randrange(self._next_id),))

    def _execute(self, text: str, values: Any = None) -> list[tuple[Any, ...]]:
        """Execute a statement, in which `{table}` stands for the table, and return its rows, if any."""
        statement = sql.SQL(text).format(table=sql.Identifier(self._name))
        cursor = self.connection.execute(statement, values)
        return cursor.fetchall() if cursor.description else []


class DatabaseAccount(Account):
    """An account whose lists are tables of a database, in place of an earlier account's; a context manager.

    Args:
        url: The URL of the database.
        options: How the tables are built.
    """

    end_users: DatabaseTable
    responses: DatabaseTable
    declines: DatabaseTable

    def __init__(self, url: str, options: Options | None = None) -> None:
        self._url = url
        self._options = options or Options()
        super().__init__()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        for table in (self.end_users, self.responses, self.declines):
            table.connection.close()

    def _table(self, name: str, make: Make) -> DatabaseTable:
        return DatabaseTable(self._url, name, make, self.rng, self._options)


def _moment(timestamp: int) -> datetime:
    return _EPOCH + timestamp * _MICROSECOND


def _row(columns: tuple[Any, ...]) -> Row:
    number, created, updated, email, revision = columns
    properties = {"revision": revision}
    created, updated = ((moment - _EPOCH) // _MICROSECOND for moment in (created, updated))
    return Row(number, created, updated, {"email": email, "properties": properties}, properties)
