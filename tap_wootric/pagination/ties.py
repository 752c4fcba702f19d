"""Ties: rows with equal timestamps, which only page numbers tell apart. A count proves them complete.

A database may order ties one way on one page and another way on the next. PostgreSQL, for example, keeps them in one
order in a top-N heap (a page near the head of the list) and in another in a full sort (a later page), and a sequential
scan may start in the middle of the table. A row can then hide from every page, while neighboring pages overlap as if
rows had left. So neither a sequence that repeats nor a long silence proves that nothing is missing.

**The count does.** The last page that has rows, asked for once the page after it was empty, tells how many rows there
were at that request. Rows leave a second that is over, when they are updated or deleted, but hardly any enters it. So
every row seen at that request or later was there at that request, and once as many have been seen as were counted, they
are all of them. Then they are counted once more, since back-dated imports may stand in for hidden rows. If two counts
differ, only rows that were seen both before and after a count are compared with it.

While the count exceeds what was seen, rows are hiding, and the list is read in other ways: in the other direction, by
another sort key, in pages of other sizes. Each way shows some rows, and all of them count.

Rows that leave also make the count hard to reach, since a row that left after the count cannot be seen any more. But an
update does not change when a row was created. So the rows that were created in the second are counted as well, whenever
they were updated.

With more than 1,450 rows, page 30 has rows, and the API shows no page after it. So they cannot be counted, and nothing
is proven. Then all that the API shows is read, once from either end of each list. That proves nothing either: rows that
come last in ascending and in descending order are on no page, although the two readings overlap and agree.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass, field, replace
from itertools import count, islice, product

from tap_wootric.pagination.query import (
    LAST_PAGE,
    PAGE_SIZE,
    TIME_KEYS,
    FetchPage,
    Query,
    TimeRange,
    fetch_records,
)
from tap_wootric.records.transform import Record

_MAX_READINGS = 40
"""Readings of a second before giving up. Where every request brings another random order, a reading shows 63% of the
rows, and 1,450 rows take about ln(1,450) + 4 readings."""

_SIZES = (
    (50, 48, 46, 44),
    (21, 39, 9, 31),
    (45, 15, 27, 42),
    (7, 34, 18, 47),
    (37, 12, 24, 29),
    (5, 41, 33, 10),
)
"""Rows a page, for the four ways to read a list in each round. Rows hide at the borders of pages, and pages of another
size have them elsewhere."""


def read_ties(
    fetch: FetchPage, query: Query, known: set[int], largest_page: int, *, may_enter: bool
) -> Generator[Record, None, str]:
    """Yield the records of a second once each, in any order, and try to prove them complete.

    Args:
        fetch: Returns a page.
        query: Its ranges are the second: of creation, of update or of both.
        known: The ids of records that are not yielded any more. Those that are yielded are added.
        largest_page: The most rows that any page of the list has had so far.
        may_enter: Whether new rows may still enter the second. Such rows do not count towards those that were counted.

    Returns:
        Why there may be more rows; empty if they are proven complete.

    Raises:
        WrongAnswerError: A page has rows outside its query's ranges.
    """
    reader = _Reader(fetch, query, known, largest_page, may_enter=may_enter)
    for way in islice(reader.ways(), _MAX_READINGS):
        yield from reader.read(way)
        for tally in reader.tallies:
            if tally.is_complete() and not tally.rows_may_enter():
                yield from reader.count_again(tally)
            if tally.is_complete():
                return ""
        if reader.exact.is_cut_off:
            yield from reader.read_ends()
            return f"there are more than {reader.exact.largest_page * (LAST_PAGE - 1):,}"
    seen, counted = len(reader.exact.last_seen), reader.exact.rows
    return f"{counted:,} were counted, and the API shows some on no page" if seen < counted else "they kept changing"


@dataclass(frozen=True, slots=True)
class _Count:
    """What the last page of a list told about the number of its rows, and at which request."""

    request: int
    pages_before: int
    size: int
    rows_at_end: int


@dataclass(slots=True)
class _Tally:
    """Which rows of a query were seen at which requests, and how many there were. Requests are numbered.

    Attributes:
        query: The rows that count are those in its ranges.
        may_enter: As with `read_ties`.
        largest_page: The most rows on a page so far. A server may put fewer on a page than it is asked for.
        is_cut_off: Whether page 30 had rows, so that they cannot be counted.
    """

    query: Query
    may_enter: bool
    largest_page: int
    is_cut_off: bool = False
    first_seen: dict[int, int] = field(default_factory=dict)
    last_seen: dict[int, int] = field(default_factory=dict)
    counts: list[_Count] = field(default_factory=list)

    def see(self, request: int, asked: Query, page: list[Record]) -> list[Record]:
        """Record a page, and return its records in the query's ranges."""
        self.largest_page = max(self.largest_page, len(page))
        if not self.has_ranges_of(asked):
            page = self.query.select([record for record in page if all(record.get(key) for key in TIME_KEYS)])
        for record in page:
            self.first_seen.setdefault(record["id"], request)
            self.last_seen[record["id"]] = request
        return page

    def has_ranges_of(self, asked: Query) -> bool:
        """Return whether a query asks for exactly the rows of this tally."""
        return (asked.created_at, asked.updated_at) == (self.query.created_at, self.query.updated_at)

    @property
    def rows(self) -> int:
        """How many rows there were when they were last counted; as many as were seen if they never were."""
        return self._rows_in(self.counts[-1]) if self.counts else len(self.last_seen)

    def _rows_in(self, counted: _Count) -> int:
        return counted.pages_before * min(counted.size, self.largest_page) + counted.rows_at_end

    def rows_may_enter(self) -> bool:
        """Return whether a row that was first seen after a count may have entered since."""
        return self.may_enter or len({self._rows_in(counted) for counted in self.counts}) > 1

    def is_complete(self) -> bool:
        """Return whether, at or after one of the counts, as many rows were seen as were counted.

        If rows may enter, only rows that were also seen before the count are included: others may be new.
        """
        may_enter, rows = self.rows_may_enter(), 0
        for counted in reversed(self.counts):
            rows = max(rows, self._rows_in(counted))  # A later count may show that an earlier one was off.
            seen = sum(
                last >= counted.request and (self.first_seen[row] <= counted.request or not may_enter)
                for row, last in self.last_seen.items()
            )
            if rows <= seen:
                return True
        return False


class _Reader:
    """Reads the rows of one second in one way after another, and keeps what each showed.

    Attributes:
        exact: Counts the rows in the query's ranges.
        created: Counts the rows that were created in the same second, whenever they were updated. None where the
            query's ranges are not a second of both.
    """

    def __init__(self, fetch: FetchPage, query: Query, known: set[int], largest_page: int, *, may_enter: bool) -> None:
        self.exact = _Tally(query, may_enter, largest_page)
        self.created: _Tally | None = None
        if len(query.created_at) == len(query.updated_at) == 1:
            created = replace(query, sort_key="created_at", updated_at=TimeRange())
            self.created = _Tally(created, may_enter, largest_page)
        self._fetch = fetch
        self._query = query
        self._known = known
        self._requests = 0

    @property
    def tallies(self) -> list[_Tally]:
        """Both tallies, if there are two."""
        return [self.exact, self.created] if self.created else [self.exact]

    def ways(self) -> Iterator[Query]:
        """Yield one way after another to read the rows. Each is a list that has them all."""
        query = self._query
        others = [key for key in query.sort_keys if key != query.sort_key] or [query.sort_key]
        for number in count():
            other = replace(query, sort_key=others[number % len(others)])
            rows = self.exact.rows
            # With these sizes, 30 pages show all rows in the first way, and half of them in each of the others.
            smallest = (-(-rows // (LAST_PAGE - 1)), *[rows // LAST_PAGE // 2] * 3)
            sizes = [max(pair) for pair in zip(smallest, _SIZES[number % len(_SIZES)], strict=True)]
            yield replace(query, size=sizes[0])
            if self.created and not self.created.is_cut_off:
                yield replace(self.created.query, size=max(sizes[0], -(-self.created.rows // (LAST_PAGE - 1))))
            yield replace(query, size=sizes[1], descending=True)
            yield replace(other, size=sizes[2])
            yield replace(other, size=sizes[3], descending=True)

    def read(self, way: Query) -> Iterator[Record]:
        """Read a list from its last page to its first, and yield the records that were not known before.

        This way, a list in a stable order is read completely even while rows leave: rows can only move to pages that
        are yet to be read.
        """
        last_page = yield from self._read_last_page(way)
        if self.exact.is_cut_off:
            return
        for number in range(last_page - 1, 0, -1):
            _, new = self._ask(replace(way, page=number))
            yield from new

    def _read_last_page(self, way: Query) -> Generator[Record, None, int]:
        """Find the last page that has rows, and count the rows. Return its number; 0 if there are no rows."""
        tally = self.created if self.created and self.created.has_ranges_of(way) else self.exact
        last, empty, rows_on_last = 0, LAST_PAGE + 1, 0
        number = min(max(tally.rows, len(self._known)) // way.size + 1, LAST_PAGE)
        while empty - last > 1:
            rows, new = self._ask(replace(way, page=number))
            yield from new
            if rows:
                last, rows_on_last = number, rows
            else:
                empty = number
            if 0 < rows < min(way.size, tally.largest_page):
                number = last + 1  # This must be empty if the page is short because it is the last one.
            elif empty > LAST_PAGE:
                number = min(2 * last, LAST_PAGE)
            else:
                number = (last + empty) // 2
        if last == LAST_PAGE:
            tally.is_cut_off |= way.size == PAGE_SIZE
        else:
            yield from self._count(tally, replace(way, page=max(1, last)), rows_on_last)
        return last

    def _count(self, tally: _Tally, last_page: Query, at_least: int = 0) -> Iterator[Record]:
        """Count the rows by what was the last page, with at least some rows, and the page after it if that is full."""
        request, rows = self._requests + 1, 0
        for number in (last_page.page, last_page.page + 1):
            rows_on_page, new = self._ask(replace(last_page, page=number))
            yield from new
            rows += rows_on_page
            if rows_on_page < min(last_page.size, tally.largest_page):
                tally.counts.append(_Count(request, last_page.page - 1, last_page.size, max(rows, at_least)))
                return
        tally.counts.clear()  # There are more rows than they say.

    def count_again(self, tally: _Tally) -> Iterator[Record]:
        """Count rows once more that seem complete."""
        last = tally.counts[-1]
        yield from self._count(tally, replace(tally.query, size=last.size, page=last.pages_before + 1))

    def read_ends(self) -> Iterator[Record]:
        """Yield the records on all pages that the API shows by each sort key in both directions."""
        for key, is_descending in product(self._query.sort_keys, (False, True)):
            for number in range(1, LAST_PAGE + 1):
                rows, new = self._ask(replace(self._query, sort_key=key, descending=is_descending, page=number))
                yield from new
                if not rows:
                    break

    def _ask(self, query: Query) -> tuple[int, list[Record]]:
        """Return how many rows a page has, and those of its records that are in the second and not known yet."""
        page = fetch_records(self._fetch, query)
        self._requests += 1
        if self.created:
            self.created.see(self._requests, query, page)
        new = [record for record in self.exact.see(self._requests, query, page) if record["id"] not in self._known]
        self._known |= {record["id"] for record in new}
        return len(page), new
