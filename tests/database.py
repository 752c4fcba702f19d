"""An account whose lists are tables of a PostgreSQL database, which may return ties in any order.

Each page is a single `SELECT … ORDER BY key LIMIT … OFFSET …` without a tiebreaker. The order of rows with equal keys
therefore depends on the plan of that request: a top-N heap for a page near the head, a full sort for a later page, an
index scan, a parallel plan, or a sequential scan that starts in the middle of the table.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg.types.json import Jsonb

from tools.sandbox.account import NOTE, Account, Body, Make, Row, Selection, Table

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
        body jsonb NOT NULL,
        padding text
    ) WITH (autovacuum_enabled = off)
"""
_INSERT = "INSERT INTO {table} VALUES (%s, %s, %s, %s, 0, %s, repeat('x', %s))"
_UPDATE = "UPDATE {table} SET updated_at = %s, revision = revision + 1 WHERE id = %s"
_ADD_NOTE = """
    UPDATE {table} SET revision = revision + 1, body = jsonb_set(body, '{{notes}}', body -> 'notes' || %s) WHERE id = %s
"""
_DELETE = "DELETE FROM {table} WHERE id = %s"
_SELECT = "SELECT id, created_at, updated_at, revision, body FROM {table}"
_SCAN = "SELECT padding FROM {table} OFFSET %s LIMIT 1"
_INSERT_MANY = """
    INSERT INTO {table}
    SELECT id, %(created)s + number * %(apart)s, %(updated)s + number * %(apart)s, email, 0,
        %(body)s || CASE WHEN %(has_email)s THEN jsonb_build_object('email', email) ELSE '{{}}' END,
        repeat('x', %(padding)s)
    FROM generate_series(0, %(count)s - 1) AS number,
        LATERAL (SELECT %(first)s + number AS id) AS ids,
        LATERAL (
            SELECT CASE
                WHEN %(has_email)s AND number * 7919 %% 1000 >= %(without_email)s * 1000
                THEN md5(id::text) || '@example.com'
            END AS email
        ) AS emails
"""

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


class Writer:
    """Changes the rows of a table on one connection."""

    def __init__(self, connection: psycopg.Connection[Any], name: str, padding: int = 0) -> None:
        self._connection = connection
        self._name = name
        self._padding = padding

    def insert(self, row: Row) -> None:
        email = row.body.get("email")
        values = (row.id, _moment(row.created), _moment(row.updated), email, Jsonb(row.body), self._padding)
        self.execute(_INSERT, values)

    def update(self, row: Row, at: int) -> None:
        self.execute(_UPDATE, (_moment(at), row.id))

    def add_note(self, row: Row) -> None:
        self.execute(_ADD_NOTE, (Jsonb(NOTE), row.id))

    def delete(self, row: Row) -> None:
        self.execute(_DELETE, (row.id,))

    def execute(self, text: str, values: Sequence[Any] | Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """Execute a statement, in which `{table}` stands for the table, and return its rows, if any."""
        statement = sql.SQL(text).format(table=sql.Identifier(self._name))
        cursor = self._connection.execute(statement, values)
        return cursor.fetchall() if cursor.description else []


class DatabaseTable(Table):
    """The rows of one list, stored in a table of a database.

    A `Row` is a copy: only the methods of the table change the stored row.
    """

    def __init__(
        self, connection: psycopg.Connection[Any], name: str, make: Make, rng: random.Random, options: Options
    ) -> None:
        super().__init__(make, rng)
        self._connection = connection
        self._name = name
        self._options = options
        self._writer = Writer(connection, name, options.padding)
        self._request_rng = copy(rng)  # A copy: the same seed must create the same rows as in memory.
        self._writer.execute(_CREATE)
        self._writer.execute(
            "ALTER TABLE {table} ALTER padding SET STORAGE PLAIN"
        )  # Neither compressed nor moved away.
        self._writer.execute("CREATE UNIQUE INDEX ON {table} (id)")
        if options.indexes:
            self._writer.execute("CREATE INDEX ON {table} (created_at)")
            self._writer.execute("CREATE INDEX ON {table} (updated_at)")

    @property
    def rows(self) -> dict[int, Row]:
        """A copy of each row by its id."""
        return {row.id: row for row in map(_row, self._writer.execute(_SELECT + " ORDER BY id"))}

    def page(self, selection: Selection) -> list[Row]:
        if selection.whole_seconds or selection.shuffle_ties or selection.ignores_sort:
            raise NotImplementedError("A database stores timestamps and orders rows in its own way")
        self._prepare()
        conditions: list[sql.Composable] = [
            sql.SQL("{} {} {}").format(
                sql.Identifier(f"{filter_.column}_at"),
                sql.SQL(_COMPARE[filter_.operator]),
                sql.Literal(_moment(filter_.bound)),
            )
            for filter_ in selection.filters
        ]
        select = sql.SQL("{} WHERE {} ORDER BY {} {} LIMIT {} OFFSET {}").format(
            sql.SQL(_SELECT).format(table=sql.Identifier(self._name)),
            sql.SQL(" AND ").join(conditions or [sql.SQL("true")]),
            sql.Identifier(selection.key),
            sql.SQL("DESC" if selection.descending else "ASC"),
            sql.Literal(selection.limit),
            sql.Literal(selection.offset),
        )
        return [_row(columns) for columns in self._connection.execute(select).fetchall()]

    def insert(self, created: int, updated: int | None = None) -> Row:
        row = self.prepared(created, updated)
        self._writer.insert(row)
        return row

    def insert_many(
        self, count: int, created: int, updated: int | None = None, *, apart: int = 0, without_email: float = 0.0
    ) -> range:
        """Insert rows with one statement, and return their ids.

        Args:
            count: The number of rows.
            created: When the first row was created.
            updated: When it was updated; by default when it was created.
            apart: Microseconds between the timestamps of consecutive rows. With 0, all rows have the same timestamps.
            without_email: The share of end users whose e-mail address is null. The other addresses are distinct, and
                not in the order of the rows.
        """
        ids = range(self._next_id, self._next_id + count)
        body = self.prepared(created).body
        self._next_id = ids.stop
        self._writer.execute(
            _INSERT_MANY,
            {
                "count": count,
                "first": ids.start,
                "created": _moment(created),
                "updated": _moment(created if updated is None else updated),
                "apart": apart * _MICROSECOND,
                "without_email": without_email,
                "has_email": "email" in body,
                "body": Jsonb(body),
                "padding": self._options.padding,
            },
        )
        return ids

    def update(self, row: Row, at: int) -> None:
        self._writer.update(row, at)

    def add_note(self, row: Row) -> None:
        self._writer.add_note(row)

    def delete(self, row: Row) -> None:
        self._writer.delete(row)

    def some(self, count: int) -> list[Row]:
        ids = [row_id for (row_id,) in self._writer.execute("SELECT id FROM {table} ORDER BY id")]
        chosen = self._rng.sample(ids, min(count, len(ids)))
        found = {row.id: row for row in map(_row, self._writer.execute(_SELECT + " WHERE id = ANY(%s)", (chosen,)))}
        return [found[row_id] for row_id in chosen]

    @contextmanager
    def transaction(self) -> Iterator[Writer]:
        """Begin a transaction on another connection, and commit it at the end.

        Its changes appear late, when it commits. Pass the timestamp of its start, as `now()` returns it in PostgreSQL.
        Until then, the rows that it changed are locked.
        """
        with psycopg.connect(_url(self._connection)) as connection:
            yield Writer(connection, self._name, self._options.padding)

    def analyze(self) -> None:
        """Collect the statistics that the planner uses."""
        self._writer.execute("ANALYZE {table}")

    def enlarge(self) -> None:
        """Add empty blocks until the table exceeds a quarter of `shared_buffers`, and scans may start anywhere."""
        [[missing]] = self._writer.execute(
            "SELECT setting::integer / 4 + 1 - pg_relation_size(%s::regclass) / current_setting('block_size')::integer"
            " FROM pg_settings WHERE name = 'shared_buffers'",
            (self._name,),
        )
        self._writer.execute(
            "INSERT INTO {table} SELECT -number, 'epoch', 'epoch', NULL, 0, 'null', repeat('x', 7900)"
            " FROM generate_series(1, %s) AS number",
            (missing,),
        )
        self._writer.execute("DELETE FROM {table} WHERE id < 0")

    def _prepare(self) -> None:
        """Influence the order of the next page."""
        if self._options.random_plans:
            chosen = {name: self._request_rng.choice(values) for name, values in _RANDOM_SETTINGS.items()}
            for name, value in {**_AS_IF_LARGE, **chosen}.items():
                self._connection.execute(sql.SQL("SET {} = {}").format(sql.Identifier(name), sql.Literal(value)))
        if self._options.other_scans:
            self._writer.execute(_SCAN, (self._request_rng.randrange(self._next_id),))


class DatabaseAccount(Account):
    """An account whose lists are tables of an empty database; a context manager.

    Args:
        url: The URL of the database.
        seed: The same seed creates the same rows, also in an `Account`.
        options: How the tables are built.
    """

    end_users: DatabaseTable
    responses: DatabaseTable
    declines: DatabaseTable

    def __init__(self, url: str, seed: int = 0, options: Options | None = None) -> None:
        # With client-side parameters, each request is planned for its values.
        self._connection = psycopg.connect(url, autocommit=True, cursor_factory=psycopg.ClientCursor)
        self._connection.execute("SET lock_timeout = '10s'")  # A `transaction` of the same test may have locked a row.
        self._options = options or Options()
        super().__init__(seed=seed)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._connection.close()

    def _table(self, name: str, make: Make) -> DatabaseTable:
        return DatabaseTable(self._connection, name, make, self.rng, self._options)


def _moment(timestamp: int) -> datetime:
    return _EPOCH + timestamp * _MICROSECOND


def _timestamp(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND


def _row(columns: tuple[Any, ...]) -> Row:
    number, created, updated, revision, body = columns
    properties: Body = body["properties"] if "properties" in body else body["end_user"]["properties"]
    properties["revision"] = revision
    return Row(number, _timestamp(created), _timestamp(updated), body, properties)


def _url(connection: psycopg.Connection[Any]) -> str:
    info = connection.info
    return make_conninfo(host=info.host, port=info.port, dbname=info.dbname, user=info.user, password=info.password)
