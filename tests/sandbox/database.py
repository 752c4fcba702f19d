"""An account whose lists are tables of a PostgreSQL database, which may return ties in any order.

Each page is one `SELECT … ORDER BY key LIMIT … OFFSET …` with nothing else in the order. So rows with equal keys come
as the plan of that one request leaves them: a top-N heap for a page near the head, a full sort for a later one, an
index scan, a parallel plan, or a sequential scan that starts in the middle of the table.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg.types.json import Jsonb

from tests.sandbox.account import Account, Body, Make, Row, Selection, Table

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_COMPARE = {"eq": "=", "lt": "<", "lte": "<=", "gt": ">", "gte": ">="}

_CREATE = """
    CREATE TABLE {table} (
        id bigint NOT NULL,
        created_at timestamptz NOT NULL,
        updated_at timestamptz NOT NULL,
        email text,
        excluded boolean NOT NULL,
        revision integer NOT NULL,
        body jsonb NOT NULL,
        padding text
    ) WITH (autovacuum_enabled = off)
"""
_INSERT = "INSERT INTO {table} VALUES (%s, %s, %s, %s, %s, 0, %s, repeat('x', %s))"
_UPDATE = "UPDATE {table} SET updated_at = %s, revision = revision + 1 WHERE id = %s"
_DELETE = "DELETE FROM {table} WHERE id = %s"
_SELECT = "SELECT id, created_at, updated_at, revision, body FROM {table}"
_SCAN = "SELECT padding FROM {table} OFFSET %s LIMIT 1"
_INSERT_MANY = """
    INSERT INTO {table}
    SELECT id, %(created)s + number * %(apart)s, %(updated)s + number * %(apart)s, email, %(excluded)s, 0,
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

_LIKE_LARGE = {
    "min_parallel_table_scan_size": "0",
    "min_parallel_index_scan_size": "0",
    "parallel_setup_cost": "0",
    "parallel_tuple_cost": "0",
}
"""With these, the planner takes small tables for large ones."""

_DRAWN = {
    "enable_indexscan": ("on", "off"),
    "enable_bitmapscan": ("on", "off"),
    "enable_seqscan": ("on", "off"),
    "enable_sort": ("on", "off"),
    "enable_incremental_sort": ("on", "off"),
    "work_mem": ("64kB", "4MB"),
    "max_parallel_workers_per_gather": ("0", "2"),
}
"""What each request draws from, where plans are random."""


@dataclass(frozen=True, slots=True)
class Options:
    """How the database is made, and what makes it hard to read."""

    indexes: bool = True
    """Whether there are indexes on `created_at` and `updated_at`."""
    random_plans: bool = False
    """Whether each request draws the planner's settings anew. Else the planner chooses."""
    other_scans: bool = False
    """Whether another client's sequential scan stops anywhere before each request, and the next one starts there.
    PostgreSQL does so with large tables: call `DatabaseTable.enlarge`."""
    padding: int = 0
    """Bytes by which each row is longer, 7,900 at most: there is one row to a block then."""


class Writer:
    """Changes the rows of a table on one connection."""

    def __init__(self, connection: psycopg.Connection[Any], name: str, padding: int = 0) -> None:
        self._connection = connection
        self._name = name
        self._padding = padding

    def insert(self, row: Row) -> None:
        email, excluded = row.body.get("email"), row.body.get("excluded_from_calculations", False)
        values = (row.id, _moment(row.created), _moment(row.updated), email, excluded, Jsonb(row.body), self._padding)
        self.execute(_INSERT, values)

    def update(self, row: Row, at: int) -> None:
        self.execute(_UPDATE, (_moment(at), row.id))

    def delete(self, row: Row) -> None:
        self.execute(_DELETE, (row.id,))

    def execute(self, text: str, values: Sequence[Any] | Mapping[str, Any] | None = None) -> list[tuple[Any, ...]]:
        """Execute a statement in which `{table}` is the table, and return its rows if it has any."""
        statement = sql.SQL(text).format(table=sql.Identifier(self._name))
        cursor = self._connection.execute(statement, values)
        return cursor.fetchall() if cursor.description else []


class DatabaseTable(Table):
    """The rows of one list, in a table of a database.

    A `Row` is a copy of what is stored: only the methods of the table change what is stored.

    Attributes:
        explains: Whether the plan of each page goes to `plans`.
        plans: The types of a plan's nodes, the uppermost first.
    """

    def __init__(
        self, connection: psycopg.Connection[Any], name: str, make: Make, rng: random.Random, options: Options
    ) -> None:
        super().__init__(make, rng)
        self.explains = False
        self.plans: list[str] = []
        self._connection = connection
        self._name = name
        self._options = options
        self._writer = Writer(connection, name, options.padding)
        self._request_rng = copy(rng)  # So the same seed makes the same rows as in memory.
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
        """A copy of each row with its id."""
        return {row.id: row for row in map(_row, self._writer.execute(_SELECT + " ORDER BY id"))}

    def page(self, selection: Selection) -> list[Row]:
        if selection.whole_seconds or selection.shuffle_ties or selection.ignores_sort:
            raise NotImplementedError("A database keeps its stamps and orders its rows in its own way")
        self._prepare()
        conditions: list[sql.Composable] = [
            sql.SQL("{} {} {}").format(
                sql.Identifier(f"{one.column}_at"), sql.SQL(_COMPARE[one.operator]), sql.Literal(_moment(one.bound))
            )
            for one in selection.filters
        ]
        select = sql.SQL("{} WHERE {} ORDER BY {} {} LIMIT {} OFFSET {}").format(
            sql.SQL(_SELECT).format(table=sql.Identifier(self._name)),
            sql.SQL(" AND ").join(conditions or [sql.SQL("true")]),
            sql.Identifier(selection.key),
            sql.SQL("DESC" if selection.descending else "ASC"),
            sql.Literal(selection.limit),
            sql.Literal(selection.offset),
        )
        if self.explains:
            [[plan]] = self._connection.execute(sql.SQL("EXPLAIN (FORMAT JSON) {}").format(select)).fetchall()
            self.plans.append(" < ".join(_nodes(plan[0]["Plan"])))
        return [_row(one) for one in self._connection.execute(select).fetchall()]

    def insert(self, created: int, updated: int | None = None) -> Row:
        row = self.prepared(created, updated)
        self._writer.insert(row)
        return row

    def prepared(self, created: int, updated: int | None = None) -> Row:
        """Return a new row that is still to be inserted, by a `Writer`."""
        row = self._made(self._next_id, created, created if updated is None else updated)
        self._next_id += 1
        return row

    def insert_many(
        self, count: int, created: int, updated: int | None = None, *, apart: int = 0, without_email: float = 0.0
    ) -> range:
        """Insert rows by one statement, and return their ids.

        Args:
            count: The number of rows.
            created: The stamp of the first row's creation.
            updated: The stamp of its update; that of the creation by default.
            apart: Microseconds from one row's stamps to the next one's. Where it is 0, all are equal on both clocks.
            without_email: The share of end users whose e-mail is null. The other e-mails are distinct, and their
                order is not that of the rows.
        """
        ids = range(self._next_id, self._next_id + count)
        self._next_id += count
        body = self._made(ids.start, created, created).body
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
                "excluded": body.get("excluded_from_calculations", False),
                "body": Jsonb(body),
                "padding": self._options.padding,
            },
        )
        return ids

    def update(self, row: Row, at: int) -> None:
        self._writer.update(row, at)

    def delete(self, row: Row) -> None:
        self._writer.delete(row)

    def some(self, count: int) -> list[Row]:
        ids = [one for (one,) in self._writer.execute("SELECT id FROM {table} ORDER BY id")]
        chosen = self._rng.sample(ids, min(count, len(ids)))
        found = {row.id: row for row in map(_row, self._writer.execute(_SELECT + " WHERE id = ANY(%s)", (chosen,)))}
        return [found[one] for one in chosen]

    @contextmanager
    def transaction(self) -> Iterator[Writer]:
        """Begin a transaction on a connection of its own, and commit it in the end.

        What it writes appears late: give it the stamp of its beginning, as `now()` does. A row that it wrote is locked
        until then.
        """
        with psycopg.connect(_url(self._connection)) as connection:
            yield Writer(connection, self._name, self._options.padding)

    def analyze(self) -> None:
        """Collect the statistics by which the planner chooses."""
        self._writer.execute("ANALYZE {table}")

    def vacuum(self) -> None:
        """Free the space of old versions of rows, for new ones."""
        self._writer.execute("VACUUM (TRUNCATE off) {table}")

    def enlarge(self) -> None:
        """Add empty blocks until sequential scans may start anywhere: to more than a quarter of `shared_buffers`."""
        [[missing]] = self._writer.execute(
            "SELECT setting::integer / 4 + 1 - pg_relation_size(%s::regclass) / current_setting('block_size')::integer"
            " FROM pg_settings WHERE name = 'shared_buffers'",
            (self._name,),
        )
        self._writer.execute(
            "INSERT INTO {table} SELECT -number, 'epoch', 'epoch', NULL, false, 0, 'null', repeat('x', 7900)"
            " FROM generate_series(1, %s) AS number",
            (missing,),
        )
        self._writer.execute("DELETE FROM {table} WHERE id < 0")

    def _made(self, number: int, created: int, updated: int) -> Row:
        body, properties = self._make(self._rng, number)
        properties["revision"] = 0
        return Row(number, created, updated, body, properties)

    def _prepare(self) -> None:
        """Bring about the order of the next page."""
        if self._options.random_plans:
            drawn = {name: self._request_rng.choice(values) for name, values in _DRAWN.items()}
            for name, value in {**_LIKE_LARGE, **drawn}.items():
                self._connection.execute(sql.SQL("SET {} = {}").format(sql.Identifier(name), sql.Literal(value)))
        if self._options.other_scans:
            self._writer.execute(_SCAN, (self._request_rng.randrange(self._next_id),))


class DatabaseAccount(Account):
    """An account whose lists are tables of an empty database; a context manager.

    Args:
        url: The database.
        seed: Where the rows come from, as with `Account`.
        options: What the tables are like.
    """

    end_users: DatabaseTable
    responses: DatabaseTable
    declines: DatabaseTable

    def __init__(self, url: str, seed: int = 0, options: Options | None = None) -> None:
        # Client-side parameters: a plan is made for the values of each request.
        self._connection = psycopg.connect(url, autocommit=True, cursor_factory=psycopg.ClientCursor)
        self._connection.execute("SET lock_timeout = '10s'")  # A row may be locked by `transaction` of the same test.
        self._options = options or Options()
        super().__init__(seed=seed)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def _table(self, name: str, make: Make) -> DatabaseTable:
        return DatabaseTable(self._connection, name, make, self.rng, self._options)


def _moment(stamp: int) -> datetime:
    return _EPOCH + stamp * _MICROSECOND


def _stamp(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND


def _row(found: tuple[Any, ...]) -> Row:
    number, created, updated, revision, body = found
    properties: Body = body["properties"] if "properties" in body else body["end_user"]["properties"]
    properties["revision"] = revision
    return Row(number, _stamp(created), _stamp(updated), body, properties)


def _url(connection: psycopg.Connection[Any]) -> str:
    info = connection.info
    return make_conninfo(host=info.host, port=info.port, dbname=info.dbname, user=info.user, password=info.password)


def _nodes(plan: dict[str, Any]) -> Iterator[str]:
    yield plan["Node Type"]
    for inner in plan.get("Plans", ()):
        yield from _nodes(inner)
