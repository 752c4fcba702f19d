"""Keyset pagination over a list that changes while it is read, so that no row is lost.

A page is the head of a sorted list at the moment of the request, and between two requests the list changes. So nothing
is taken from earlier requests but this: every row older than the last row of a page was on that page or an earlier
one. The next request therefore starts at the second of that last row, and skips the ids already seen in it. A row that
leaves the list can only pull later rows forward, onto a page that has not been read yet.

A **crowded second** fills a whole page and cannot be passed that way. How its rows are read depends on the list:

- A second of **updates** is read by creation time, by the same method. Rows leave it when they are updated, but none
  enters it.
- A second of **creations** is counted, see `ties.py`: rows that are updated would move about in a list by update time.
  With 1,500 rows or more, they cannot be counted; see `_read_created_second`.
- A second of **both** is counted as well.

If that does not prove a second complete, all its rows that can be reached are read and `on_unproven` is called. Unless
it raises an error, the reading goes on behind that second.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

from tap_wootric.pagination.query import (
    ALL_TIME,
    END_OF_TIME,
    PAGE_SIZE,
    FetchPage,
    OnUnproven,
    Page,
    Query,
    TimeRange,
    UncountableError,
    UnprovenSecondError,
    fetch_page,
    raise_unproven,
)
from tap_wootric.pagination.ties import read_reachable, read_ties
from tap_wootric.records.timestamps import SECOND_LENGTH, timestamp_of_second, unix_seconds
from tap_wootric.records.transform import Record


@dataclass(slots=True)
class Cursor:
    """How far a reading is.

    Attributes:
        query: What is left to ask for.
        seen: The ids already seen in the second that the query starts at.
        fetched: Records that come before those of the query, and have been fetched already.
    """

    query: Query
    seen: set[int] = field(default_factory=set)
    fetched: list[Record] = field(default_factory=list)

    def is_at_end(self) -> bool:
        """Return whether nothing is left."""
        return not self.query.range_of(self.query.time_key)


def read(fetch: FetchPage, query: Query, on_unproven: OnUnproven = raise_unproven) -> Iterator[Record]:
    """Yield every record in the query's ranges, sorted by its sort key to the second.

    A row that does not change meanwhile comes once, whatever happens to other rows. A row that changes may come again.

    Args:
        fetch: Returns a page.
        query: The ranges to read.
        on_unproven: Is told of each second whose rows could not be proven complete.

    Raises:
        UnprovenSecondError: By default, if there is such a second.
        WrongAnswerError: The API does not filter or sort as it was asked to.
    """
    return chain.from_iterable(iter_pages(fetch, Cursor(query), on_unproven))


def iter_pages(
    fetch: FetchPage, cursor: Cursor, on_unproven: OnUnproven = raise_unproven
) -> Iterator[Iterable[Record]]:
    """Yield what `read` does page by page, and move the cursor to the rest before each page.

    Use up each page before you ask for the next one.

    Args:
        fetch: Returns a page.
        cursor: Where to start.
        on_unproven: As with `read`.

    Raises:
        UnprovenSecondError, WrongAnswerError: As with `read`, also while a page is used up.
    """
    key = cursor.query.time_key
    if cursor.fetched:
        fetched, cursor.fetched = cursor.fetched, []
        yield fetched
    while not cursor.is_at_end():
        query, seen = cursor.query, cursor.seen
        page = fetch_page(fetch, query)
        new = [record for record in page.records if record["id"] not in seen]
        if page.is_full and page.seconds[0] == page.seconds[-1]:
            second = unix_seconds(page.seconds[0])
            cursor.query, cursor.seen = query.starting_at(second + 1), set()
            known = page.ids_of_last_second()
            if second == query.range_of(key).gte:
                known |= seen
            crowd = _read_crowded_second(fetch, query.with_range(key, TimeRange.of_second(second)), page, on_unproven)
            yield chain(new, _unseen(crowd, known))
        else:
            cursor.query, cursor.seen = _rest_behind(page, query)
            yield new


def _rest_behind(page: Page, query: Query) -> tuple[Query, set[int]]:
    """Return a query for the rows behind a page of a list, and the ids already seen in the second that it starts at."""
    if page.is_full:
        return query.starting_at(unix_seconds(page.seconds[-1])), page.ids_of_last_second()
    return query.starting_at(query.range_of(query.time_key).lt), set()


def split(fetch: FetchPage, cursor: Cursor, pages: int) -> tuple[Cursor, Cursor | None]:
    """Divide a cursor in two, by looking at a page further on in its list.

    The first part is as long as so many requests can read: every page after the first repeats a row, so N pages show
    49 N + 1 rows, and with one row less, the last page is not full and ends the part.

    What the page shows behind the first part is not asked for again. A page is a slice of the sorted list at the time
    of the request: it has all rows between its first second and its last one, as the first page of the rest would.

    Args:
        fetch: Returns a page.
        cursor: Its query is sorted by a time.
        pages: At most `LAST_PAGE`.

    Returns:
        The part to read first, and the rest; None if there is nothing to divide, because the list has fewer pages.

    Raises:
        WrongAnswerError: As with `read`.
    """
    query, key = cursor.query, cursor.query.time_key
    time_range = query.range_of(key)
    page = fetch_page(fetch, replace(query, page=pages))
    if len(page.records) <= PAGE_SIZE - pages:
        return cursor, None
    second = max(unix_seconds(page.seconds[PAGE_SIZE - pages]), time_range.gte + 1)
    if second >= time_range.lt:
        return cursor, None
    first = replace(cursor, query=query.with_range(key, TimeRange(time_range.gte, second)))
    return first, _rest_from(page, query.starting_at(second))


def _rest_from(page: Page, query: Query) -> Cursor:
    """Return a cursor for a query that begins on a page of a longer list, with the rows of that page that it asks for.

    The page only serves if it has all rows of the query's first second, and is not full of rows up to it.
    """
    key = query.time_key
    begin = timestamp_of_second(query.range_of(key).gte)
    # Rows of the page's first second may be on the page before. A row without a timestamp does not tell a second.
    stamps = (stamp for record in page.records if (stamp := record.get(key)))
    begins_earlier = next(stamps, begin)[:SECOND_LENGTH] < begin
    if not begins_earlier or (page.is_full and page.seconds[-1] <= begin):
        return Cursor(query)
    start = bisect_left(page.seconds, begin)
    while start and not page.records[start - 1].get(key):
        start -= 1  # It may belong to the second before it or to the one behind it: rather read it twice than never.
    return Cursor(*_rest_behind(page, query), page.records[start:])


def _read_crowded_second(fetch: FetchPage, query: Query, page: Page, on_unproven: OnUnproven) -> Iterator[Record]:
    """Yield the records of one second of the query's sort key, once each.

    Args:
        fetch: Returns a page.
        query: Limited to the second.
        page: The second's first page.
        on_unproven: As with `read`.
    """
    seen = set[int]()
    filters_updates = "updated_at" in query.sort_keys
    if query.sort_key == "created_at" and len(query.updated_at) > 1 and filters_updates:
        yield from _read_created_second(fetch, query, on_unproven)
    elif query.sort_key == "updated_at" and len(query.created_at) > 1:
        if page.is_of_one_second("created_at"):
            # An import, most likely. If a single reading proves it complete, that takes the fewest requests.
            with suppress(UnprovenSecondError):
                yield from _unseen(read_ties(fetch, query, max_readings=1), seen)
                return
        yield from _unseen(read(fetch, replace(query, sort_key="created_at"), on_unproven), seen)
    else:
        yield from _read_all_ties(fetch, query, on_unproven, may_enter=_is_recent(query))


def _read_created_second(fetch: FetchPage, query: Query, on_unproven: OnUnproven) -> Iterator[Record]:
    """Yield the records that were created in one second, whenever they were updated.

    With 1,500 or more of them, they are unproven if they keep changing.
    """
    seen = set[int]()
    created = replace(query, updated_at=ALL_TIME)
    try:
        records = _unseen(read_ties(fetch, created, may_enter=_is_recent(created)), seen)
        yield from (record for record in records if query.select([record]))
    except UncountableError:
        # Rows that were not updated lately may leave, but none enters: they are read by update time. The others are
        # counted. Rows may enter those from the first part, where they were read, or because they commit late.
        settled = TimeRange(query.updated_at.gte, query.settled_until)
        recent = TimeRange(max(query.updated_at.gte, query.settled_until), END_OF_TIME)
        by_update = replace(query, sort_key="updated_at", updated_at=settled)
        yield from _unseen(read(fetch, by_update, on_unproven), seen)
        others = _read_all_ties(fetch, replace(query, updated_at=recent), on_unproven, expected_rows=0, may_enter=True)
        yield from _unseen(others, seen)
    except UnprovenSecondError as error:
        on_unproven(error)


def _read_all_ties(fetch: FetchPage, query: Query, on_unproven: OnUnproven, **options: Any) -> Iterator[Record]:
    """Yield the records that `read_ties` does, or all that can be reached if that does not prove them complete."""
    seen = set[int]()
    try:
        yield from _unseen(read_ties(fetch, query, **options), seen)
    except UncountableError as error:
        yield from _unseen(read_reachable(fetch, query), seen)
        on_unproven(UncountableError(query, len(seen), error.reason))
    except UnprovenSecondError as error:
        on_unproven(error)


def _is_recent(query: Query) -> bool:
    """Return whether the query is limited to a second that rows may still enter, because they commit late."""
    return any(
        len(time_range) == 1 and time_range.gte >= query.settled_until
        for time_range in (query.created_at, query.updated_at)
    )


def _unseen(records: Iterable[Record], seen: set[int]) -> Iterator[Record]:
    """Yield the records whose ids were not seen, and add those to them."""
    for record in records:
        if record["id"] not in seen:
            seen.add(record["id"])
            yield record
