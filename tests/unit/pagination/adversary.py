"""A list whose ties are in any order that a database, or an adversary, may choose."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from operator import attrgetter
from typing import Any

from tap_wootric.pagination.query import LAST_PAGE, Query, SortKey
from tap_wootric.records.timestamps import timestamp_of_second
from tap_wootric.records.transform import Record

SECOND = 1_700_000_000
"""The Unix second in which tied rows were created and updated."""

TIE = SECOND + 0.5
"""When exactly they were."""


@dataclass(slots=True, eq=False)
class Row:
    """A row. Its timestamps are Unix seconds with fractions, by which the API sorts, but which it does not show."""

    id: int
    created: float
    updated: float
    email: str | None = None

    def record(self) -> Record:
        return {"id": self.id, "created_at": _shown(int(self.created)), "updated_at": _shown(int(self.updated))}


SORT_VALUES: dict[SortKey, Callable[[Row], Any]] = {
    "created_at": attrgetter("created"),
    "updated_at": attrgetter("updated"),
    "email": lambda row: (row.email is None, row.email or ""),
}
"""What the database compares to sort rows by a key."""


@cache
def _shown(second: int) -> str:
    return f"{timestamp_of_second(second)}Z"


Sort = Callable[[Query, list[Row], random.Random], list[Row]]
"""Sorts rows by a query's sort key, with ties in any order."""


@dataclass(repr=False)
class TiedList:
    """Answers queries like the API, in the order of `sort`.

    Attributes:
        rows: All rows, in the order in which a database would scan them.
        leave: How many rows are updated or deleted after each request on average.
        deletes: Whether they are deleted instead of updated.
        enter: After which requests rows enter that are like the first one, before all others.
        entering: How many enter after each of them.
        max_lag: How many seconds before its request an update may be dated, as with a late commit.
        requests: How many requests were made.
        changed: Ids of the rows that were updated or deleted.
    """

    rows: list[Row]
    sort: Sort
    rng: random.Random = field(default_factory=lambda: random.Random(0))
    leave: float = 0
    deletes: bool = False
    enter: range = range(0)
    entering: int = 1
    max_lag: float = 0
    now: float = SECOND + 100_000
    requests: int = 0
    changed: set[int] = field(default_factory=set)

    def __repr__(self) -> str:
        return f"TiedList of {len(self.rows)} rows"

    def fetch(self, query: Query) -> list[Record]:
        assert 1 <= query.page <= LAST_PAGE
        self.requests += 1
        self.now += 0.2
        (created, created_end), (updated, updated_end) = (
            (time_range.gte, time_range.lt) for time_range in (query.created_at, query.updated_at)
        )
        rows = [
            row for row in self.rows if created <= row.created < created_end and updated <= row.updated < updated_end
        ]
        records = [row.record() for row in page_of(query, self.sort(query, rows, self.rng))]
        self._change()
        return records

    def _change(self) -> None:
        if self.requests in self.enter:
            first_id = 1_000_000 * self.requests
            self.rows[:0] = [replace(self.rows[0], id=first_id + number) for number in range(self.entering)]
        for _ in range(int(self.leave) + (self.rng.random() < self.leave % 1)):
            if not self.rows:
                return
            row = self.rng.choice(self.rows)
            self.changed.add(row.id)
            self.rows.remove(row)
            if not self.deletes:
                # A new version of a row is stored behind all others.
                row.updated = self.now - self.rng.random() * self.max_lag
                self.rows.append(row)


def stable(query: Query, rows: list[Row], _: random.Random) -> list[Row]:
    """Ties in the order of the scan, in both directions."""
    return sorted(rows, key=SORT_VALUES[query.sort_key], reverse=query.descending)


def reversible(query: Query, rows: list[Row], rng: random.Random) -> list[Row]:
    """Ties in the order of the scan, and exactly the reverse where it is descending, as from an index."""
    return stable(query, rows[::-1] if query.descending else rows, rng)


def shuffled(query: Query, rows: list[Row], rng: random.Random) -> list[Row]:
    """Ties in a new random order at each request."""
    return stable(query, rng.sample(rows, len(rows)), rng)


def rotated(query: Query, rows: list[Row], rng: random.Random) -> list[Row]:
    """Ties from a scan that starts anywhere, as PostgreSQL's synchronized scans do."""
    start = rng.randrange(len(rows)) if rows else 0
    return stable(query, rows[start:] + rows[:start], rng)


def by(*parts: str) -> Sort:
    """Ties in a random order that depends only on some parts of the query."""

    def sort(query: Query, rows: list[Row], rng: random.Random) -> list[Row]:
        seed = repr([getattr(query, part) for part in parts])
        return stable(query, random.Random(seed).sample(rows, len(rows)), rng)

    return sort


def rotated_from(page: int, rows_moved: int) -> Sort:
    """Ties in the order of the scan, but from some page on with the last rows first."""

    def sort(query: Query, rows: list[Row], rng: random.Random) -> list[Row]:
        return stable(query, rows[-rows_moved:] + rows[:-rows_moved] if query.page >= page else rows, rng)

    return sort


def one_of(*sorts: Sort) -> Sort:
    """Ties in one of several orders at each request, as if a database changed its plan."""

    def sort(query: Query, rows: list[Row], rng: random.Random) -> list[Row]:
        return rng.choice(sorts)(query, rows, rng)

    return sort


def hiding(count: int) -> Sort:
    """Ties whose first few rows are on no page: they come first or last, wherever the page does not reach."""

    def sort(query: Query, rows: list[Row], rng: random.Random) -> list[Row]:
        hidden = [row for row in rows if row.created == row.updated == TIE][:count]
        others = [row for row in rows if row not in hidden]
        orders = [stable(query, in_order, rng) for in_order in (hidden + others, others + hidden)]
        return min(orders, key=lambda order: len(set(hidden) & set(page_of(query, order))))

    return sort


def page_of(query: Query, rows: list[Row]) -> list[Row]:
    """Return the page that a query asks for."""
    return rows[(query.page - 1) * query.size : query.page * query.size]


def top_n_heap(query: Query, rows: list[Row], rng: random.Random) -> list[Row]:
    """Ties as PostgreSQL orders them for LIMIT and OFFSET: by a heap near the head, by a full sort further on."""
    bound = query.page * query.size
    if len(rows) <= 2 * bound:
        values = [SORT_VALUES[query.sort_key](row) for row in rows]
        if values == sorted(values, reverse=query.descending):
            return rows  # A sort that finds its input sorted leaves it as it is.
        seed = len(rows)  # A quicksort of the same rows is the same for all pages.
        return stable(query, random.Random(seed).sample(rows, len(rows)), rng)
    return _Heap(query, bound).sort(rows)


class _Heap:
    """The bounded heap sort of PostgreSQL's tuplesort.c. The root is the row to be replaced first."""

    def __init__(self, query: Query, bound: int) -> None:
        self._bound = bound
        self._query = query
        self._value = SORT_VALUES[query.sort_key]
        self._heap: list[Row] = []

    def sort(self, rows: list[Row]) -> list[Row]:
        for row in rows:
            if len(self._heap) < self._bound:
                self._insert(row)
            elif self._compare(row, self._heap[0]) > 0:
                self._replace_top(row)
        head: list[Row] = []
        while self._heap:
            head.insert(0, self._heap[0])
            last = self._heap.pop()
            if self._heap:
                self._replace_top(last)
        return head

    def _compare(self, row: Row, other: Row) -> int:
        """Compare in reverse, so that the last row in the order is the smallest."""
        left, right = self._value(row), self._value(other)
        order: int = (left < right) - (left > right)
        return -order if self._query.descending else order

    def _insert(self, row: Row) -> None:
        self._heap.append(row)
        place = len(self._heap) - 1
        while place > 0:
            parent = (place - 1) >> 1
            if self._compare(row, self._heap[parent]) >= 0:
                break
            self._heap[place] = self._heap[parent]
            place = parent
        self._heap[place] = row

    def _replace_top(self, row: Row) -> None:
        place = 0
        while (child := 2 * place + 1) < len(self._heap):
            if child + 1 < len(self._heap) and self._compare(self._heap[child], self._heap[child + 1]) > 0:
                child += 1
            if self._compare(row, self._heap[child]) <= 0:
                break
            self._heap[place] = self._heap[child]
            place = child
        self._heap[place] = row
