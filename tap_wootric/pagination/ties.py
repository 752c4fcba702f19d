"""Ties: rows with equal timestamps, which only page numbers tell apart. A count proves them complete.

A database may order ties one way on one page and another way on the next. PostgreSQL, for example, keeps them in one
order in a top-N heap (a page near the head of the list) and in another in a full sort (a later page), and a sequential
scan may start in the middle of the table. A row can then hide from every page, while neighbouring pages overlap as if
rows had left. So neither a sequence that repeats nor a long silence proves that nothing is missing.

**The count does.** A page that is not full tells how many rows there were at that request. Rows leave a second that is
over, when they are updated or deleted, but none enters it (apart from late commits, which the lookback window reads
again). So every row seen at that request or later was there at that request, and once as many have been seen as were
counted, they are all of them.

While the count exceeds what was seen, rows are hiding, and the list is read in other ways: in the other direction, by
another sort key, as the end of a longer list, in pages of other sizes. Each way shows some rows, and all of them count.

Rows that leave also make the count hard to reach, since a row that left after the count cannot be seen any more. But an
update does not change when a row was created. So where rows leave, the rows that were created in the second are
counted instead, whenever they were updated.

With 1,500 rows or more, page 30 is full, so they cannot be counted, and nothing is proven. Then `read_reachable` reads
all that the API shows. Reading the list from both ends proves nothing either: rows that come last in ascending and in
descending order are on no page, although the two readings overlap and agree.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import chain, count, cycle, islice
from typing import Any

from tap_wootric.pagination.query import (
    ALL_TIME,
    BEGINNING_OF_TIME,
    END_OF_TIME,
    LAST_PAGE,
    PAGE_SIZE,
    TIME_KEYS,
    FetchPage,
    Query,
    TimeRange,
    UncountableError,
    UnprovenSecondError,
    fetch_records,
)
from tap_wootric.records.timestamps import unix_seconds
from tap_wootric.records.transform import Record

_MAX_READINGS = 40
"""Readings of a second before giving up. Where every request brings another random order, a reading shows 63% of the
rows, and 1,499 rows take about ln(1,499) + 4 readings."""

_MIN_SIZE = 3
"""The fewest rows per page to ask for."""

_GOLDEN_RATIO = 0.618
"""Multiples of it, without their whole part, are spread evenly over 0 to 1, however many there are."""

_FEW_ROWS = 10
"""Earlier rows at the end of the descending list in the first round; twice as many in each further round."""

_DESCENDING_SIZE = 48
"""Rows per page of the descending list in the first round, so that its pages have other borders than full ones."""

_FIRST_PAGES = 4
"""Pages to try one by one when the end of a list is looked for. Past them, the page number is doubled."""


def read_ties(
    fetch: FetchPage,
    query: Query,
    *,
    expected_rows: int = PAGE_SIZE,
    may_enter: bool = False,
    max_readings: int = _MAX_READINGS,
) -> Iterator[Record]:
    """Yield the records in a query's ranges once each, in any order, and return only when they are proven complete.

    Args:
        fetch: Returns a page.
        query: Its ranges are a second that is over, of creation, of update or of both, so that rows may leave, but
            none enters.
        expected_rows: How many rows to expect. A good guess saves requests.
        may_enter: Whether new rows may enter nevertheless. Such rows do not count towards the rows that were counted.
        max_readings: After how many readings to give up.

    Raises:
        UncountableError: Page 30 is full.
        UnprovenSecondError: The rows could not be proven complete.
        WrongAnswerError: A page has rows outside its query's ranges.
    """
    reader = _Reader(fetch, query, expected_rows, may_enter=may_enter)
    for view in islice(reader.views(), max_readings):
        reader.read(view)
        yield from reader.take_new()
        if reader.is_complete():
            return
        if reader.exact.is_cut_off:
            raise UncountableError(query, len(reader.exact.last_seen), f"page {LAST_PAGE} is full")
    rows = len(reader.exact.last_seen)
    is_hiding = rows < reader.rows
    reason = f"the API counts {reader.rows}, and shows the others on no page" if is_hiding else "they kept changing"
    raise UnprovenSecondError(query, rows, reason)


def read_reachable(fetch: FetchPage, query: Query) -> Iterator[Record]:
    """Yield the records of a second that cannot be counted, as many as the API shows, some of them more than once.

    Each list shows 1,500 rows, and there is one for each sort key and direction. Responses are also read in two parts,
    by `excluded_from_calculations`. Even if both parts can be counted, they prove nothing: rows without a value may be
    in neither.

    Raises:
        WrongAnswerError: As with `read_ties`.
    """
    for part in _parts_by_exclusion(fetch, query):
        try:
            yield from read_ties(fetch, part)
        except UncountableError:
            yield from _read_ends(fetch, part)
        except UnprovenSecondError:
            pass  # Whatever showed has been yielded.
    yield from _read_ends(fetch, query)


def _parts_by_exclusion(fetch: FetchPage, query: Query) -> list[Query]:
    """Return a query for the rows that are excluded from calculations, and one for those that are not.

    Return none if the list has no such filter, or if the API ignores it, which takes a request to find out.
    """
    if not query.filters_exclusion:
        return []
    excluded = replace(query, is_excluded=True)
    if any(record.get("excluded_from_calculations") is False for record in fetch_records(fetch, excluded)):
        return []
    return [excluded, replace(query, is_excluded=False)]


def _read_ends(fetch: FetchPage, query: Query) -> Iterator[Record]:
    """Yield the first rows by each sort key in both directions, once each.

    The lists by time are then read again, as long as they show other rows: only ties change their order.
    """
    orders = [(key, is_descending) for key in query.sort_keys for is_descending in (False, True)]
    orders_by_time = [(key, is_descending) for key, is_descending in orders if key != "email"]
    seen = set[int]()
    for number, (key, is_descending) in enumerate(islice(chain(orders, cycle(orders_by_time)), _MAX_READINGS)):
        rows_before = len(seen)
        for page in range(1, LAST_PAGE + 1):
            records = fetch_records(fetch, replace(query, sort_key=key, descending=is_descending, page=page))
            yield from (record for record in records if record["id"] not in seen)
            seen |= {record["id"] for record in records}
            if len(records) < PAGE_SIZE:
                break
        if number >= len(orders) and len(seen) == rows_before:
            return


@dataclass(slots=True)
class _Tally:
    """Which rows in a query's ranges were seen when, and how many there were. A time is the number of a request."""

    query: Query
    may_enter: bool = False
    first_seen: dict[int, int] = field(default_factory=dict)
    last_seen: dict[int, int] = field(default_factory=dict)
    counts: list[tuple[int, int]] = field(default_factory=list)
    """Requests whose page was not full, each with the most rows that there can have been at that time."""
    is_cut_off: bool = False
    """Whether page 30 was full at the largest page size, so that the rows cannot be counted."""

    def add(self, request: int, asked: Query, page: list[Record]) -> list[Record]:
        """Enter the page that a request brought, and return its records in the ranges that no earlier page had."""
        if (asked.created_at, asked.updated_at) == (self.query.created_at, self.query.updated_at):
            if len(page) < asked.size:
                self.counts.append((request, (asked.page - 1) * asked.size + len(page)))
            elif (asked.page, asked.size) == (LAST_PAGE, PAGE_SIZE):
                self.is_cut_off = True
        else:
            page = self.query.select([record for record in page if all(record.get(key) for key in TIME_KEYS)])
        new = [record for record in page if record["id"] not in self.last_seen]
        self.first_seen |= {record["id"]: request for record in new}
        self.last_seen |= {record["id"]: request for record in page}
        return new

    def is_complete(self) -> bool:
        """Return whether, at or after one of the counts, as many rows were seen as were counted.

        If rows may enter, only those count that were seen before as well: the others may have entered after the count.
        """
        return any(
            rows
            <= sum(
                last >= request and (self.first_seen[row] <= request or not self.may_enter)
                for row, last in self.last_seen.items()
            )
            for request, rows in self.counts
        )


@dataclass(frozen=True, slots=True)
class _View:
    """A list that shows the rows, page by page."""

    query: Query
    rows: int
    """How many rows the list has, as far as is known."""
    is_at_end: bool = False
    """Whether the rows that are looked for come last, behind others."""


class _Reader:
    """Reads the rows of one second in one view after another, and keeps what each showed.

    Attributes:
        exact: Counts the rows in the query's ranges.
        created: Counts the rows that were created in the same second, whenever they were updated. None where the
            query's ranges are not a second of both.
    """

    def __init__(self, fetch: FetchPage, query: Query, expected_rows: int, *, may_enter: bool) -> None:
        self.exact = _Tally(query, may_enter)
        self.created: _Tally | None = None
        if len(query.created_at) == len(query.updated_at) == 1:
            self.created = _Tally(replace(query, sort_key="created_at", updated_at=ALL_TIME), may_enter)
        self._fetch = fetch
        self._query = query
        self._unlimited = replace(query, created_at=ALL_TIME, updated_at=ALL_TIME)
        self._second = query.range_of(query.time_key).gte
        self._expected_rows = expected_rows
        self._requests = 0
        self._new: list[Record] = []

    @property
    def rows(self) -> int:
        """How many rows there were when they were last counted, or are expected."""
        return self.exact.counts[-1][1] if self.exact.counts else self._expected_rows

    def is_complete(self) -> bool:
        """Return whether the rows are proven complete."""
        return self.exact.is_complete() or (self.created is not None and self.created.is_complete())

    def take_new(self) -> list[Record]:
        """Return the records in the query's ranges that were not returned before."""
        new, self._new = self._new, []
        return new

    def views(self) -> Iterator[_View]:
        """Yield one way after another to read the rows, the most promising first.

        Each round begins with the list itself, which is counted. Rows hide at the borders of pages, which pages of
        another size have at other rows: from the second round on, every view has its own size.
        """
        other_keys = [key for key in self._query.sort_keys if key != self._query.sort_key]
        sizes = self._sizes(first_round=len(other_keys) + 4)
        for number in count():
            yield self._counted_view(next(sizes))
            yield self._descending_view(next(sizes), _FEW_ROWS * 2**number)
            for key in other_keys:
                yield self._widened_view(next(sizes), margin_seconds=number, sort_key=key, descending=number % 2 == 1)
            for are_later in (False, True):
                if view := self._view_behind_others(next(sizes), are_later=are_later):
                    yield view

    def _sizes(self, first_round: int) -> Iterator[int]:
        """Yield page sizes: the largest for the first round, then others with which 30 pages show half the rows."""
        yield from [PAGE_SIZE, _DESCENDING_SIZE, *[PAGE_SIZE] * (first_round - 2)]
        for number in count(1):
            smallest = max(_MIN_SIZE, self.rows // LAST_PAGE // 2)
            yield PAGE_SIZE - int((PAGE_SIZE - smallest) * (number * _GOLDEN_RATIO % 1))

    def _counted_view(self, size: int) -> _View:
        """Return the rows' list, in pages that are large enough for one of them not to be full."""
        return _View(replace(self._list, size=max(size, self.rows // LAST_PAGE + 1)), self.rows)

    def _widened_view(self, size: int, margin_seconds: int, **changes: Any) -> _View:
        """Return a list with some seconds more on either side, so that no request is made twice."""
        query = self._list
        for key in TIME_KEYS:
            query = query.with_range(key, query.range_of(key).widened(margin_seconds))
        return _View(replace(query, size=size, **changes), self.rows)

    def _descending_view(self, size: int, earlier_rows: int) -> _View:
        """Return the list in descending order, with a few earlier rows at its end.

        On PostgreSQL without an index, this shows what hides in ascending order more often than any other list: the
        earlier rows fill the heap that sorts the head of a list, and are then replaced one by one.
        """
        descending = replace(self._list, size=size, descending=True)
        if self._list != self._query:
            return _View(descending, self.rows)
        earlier = self._fetch_others(are_later=False, size=min(earlier_rows, PAGE_SIZE))
        if not earlier:
            return _View(descending, self.rows)
        query = replace(self._unlimited, size=size, descending=True)
        time_range = TimeRange(earlier[-1], self._second + 1)
        return _View(query.with_range(query.time_key, time_range), self.rows + len(earlier))

    @property
    def _list(self) -> Query:
        """The rows' own list, or the list of all that were created in the second, if rows leave and none is hiding."""
        if self.created and not self.created.is_cut_off and len(self.exact.last_seen) >= self.rows:
            return self.created.query
        return self._query

    def _view_behind_others(self, size: int, *, are_later: bool) -> _View | None:
        """Return a longer list: about as many other rows, later ones in descending order, and behind them the rows.

        PostgreSQL only sorts the head of a list as far as it has to, but sorts all of it for a page in its second
        half, which then has the same order on all pages.

        It takes a request to find where the list must begin. Return None if there are no such rows or no room for them
        before page 30, and if the rows that leave are the problem: they do not show in this list.
        """
        if self._list != self._query:
            return None
        pages = min(self.rows // PAGE_SIZE + 1, LAST_PAGE - self.rows // PAGE_SIZE - 1)
        while pages >= 1:
            if others := self._fetch_others(are_later=are_later, page=pages):
                first, last = sorted((self._second, others[-1]))
                query = replace(self._unlimited, size=size, descending=are_later)
                query = query.with_range(query.time_key, TimeRange(first, last + 1))
                return _View(query, self.rows + pages * PAGE_SIZE, is_at_end=True)
            pages //= 2
        return None

    def _fetch_others(self, *, are_later: bool, page: int = 1, size: int = PAGE_SIZE) -> list[int]:
        """Return the Unix seconds of a page of rows before or after the second, the nearest first."""
        key = self._query.time_key
        beyond = TimeRange(self._second + 1, END_OF_TIME) if are_later else TimeRange(BEGINNING_OF_TIME, self._second)
        query = replace(self._unlimited, descending=not are_later, page=page, size=size).with_range(key, beyond)
        return [unix_seconds(stamp) for record in self._ask(query) if (stamp := record.get(key))]

    def read(self, view: _View) -> None:
        """Read a list from its last page to its first.

        Read so, a list in a stable order is complete even while rows leave: what moves can only move to pages that are
        yet to be read.
        """
        last_page = self._read_end(view)
        if self.exact.is_cut_off:
            return
        for number in range(last_page - 1, 0, -1):
            page = self._ask(replace(view.query, page=number))
            if view.is_at_end and len(self._query.select(page)) < len(page):
                return

    def _read_end(self, view: _View) -> int:
        """Find where the list ends, and return the number of a page: those before it are yet to be read since then."""
        full, empty = 0, LAST_PAGE + 1
        number = min(view.rows // view.query.size + 1, LAST_PAGE)
        while True:
            page = self._ask(replace(view.query, page=number))
            if page and len(page) < view.query.size:
                return number
            if page:
                full = number
            else:
                empty = number
            if empty - full == 1:
                return number
            if empty <= LAST_PAGE:
                number = max(full + 1, (2 * full + empty) // 3)
            else:
                number = full + 1 if full < _FIRST_PAGES else min(2 * full, LAST_PAGE)

    def _ask(self, query: Query) -> list[Record]:
        page = fetch_records(self._fetch, query)
        self._requests += 1
        self._new += self.exact.add(self._requests, query, page)
        if self.created:
            self.created.add(self._requests, query, page)
        return page
