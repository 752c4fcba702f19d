"""Keyset pagination over a list that changes while it is read, so that no row is lost.

A page is the head of a sorted list at the moment of the request, and between two requests the list changes. So nothing
is taken from earlier requests but this: every row older than the last row of a page was on that page or an earlier
one. The next request therefore starts at the second of that last row, and skips the ids already seen in it. A row that
leaves the list can only pull later rows forward, onto a page that has not been read yet.

A **crowded second** fills a whole page and cannot be passed that way. What its rows are read by depends on the list:

- A second of **updates** is read by creation time, by the same method. Rows leave it when they are updated, but none
  enters it.
- A second of **creations** is counted, see `ties.py`: rows that are updated would move about in a list by update time.
  With 1,500 rows or more, they cannot be counted; see `_read_created_second`.
- A second of **both** is counted as well.

If that does not prove a second complete, all its rows that can be reached are read, `on_unproven` is told, and unless
it objects, the reading goes on behind that second.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

from tap_wootric.pagination.query import (
    ALL_TIME,
    END_OF_TIME,
    PAGE_SIZE,
    Fetch,
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
from tap_wootric.records.timestamps import unix_seconds
from tap_wootric.records.transform import Record


@dataclass(slots=True)
class Cursor:
    """How far a reading is: what is left to ask for, and the ids already seen in the second that it starts at."""

    query: Query
    seen: set[int] = field(default_factory=set)

    def is_at_end(self) -> bool:
        """Return whether nothing is left."""
        return not self.query.range_of(self.query.time_key)


def read(fetch: Fetch, query: Query, on_unproven: OnUnproven = raise_unproven) -> Iterator[Record]:
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


def iter_pages(fetch: Fetch, cursor: Cursor, on_unproven: OnUnproven = raise_unproven) -> Iterator[Iterable[Record]]:
    """Yield what `read` does page by page, and move the cursor to the rest before each page.

    A page is to be used up before the next one is asked for.

    Args:
        fetch: Returns a page.
        cursor: Where to start.
        on_unproven: As with `read`.

    Raises:
        UnprovenSecondError, WrongAnswerError: As with `read`, also while a page is used up.
    """
    key = cursor.query.time_key
    while not cursor.is_at_end():
        query, seen = cursor.query, cursor.seen
        time_range = query.range_of(key)
        page = fetch_page(fetch, query)
        new = [record for record in page.records if record["id"] not in seen]
        if len(page.records) < PAGE_SIZE:
            cursor.query = query.with_range(key, TimeRange(time_range.lt, time_range.lt))
            yield new
            return
        last = unix_seconds(page.seconds[-1])
        in_last = page.ids_of_last_second()
        if page.seconds[0] < page.seconds[-1]:
            cursor.query, cursor.seen = query.with_range(key, TimeRange(last, time_range.lt)), in_last
            yield new
        else:
            cursor.query, cursor.seen = query.with_range(key, TimeRange(last + 1, time_range.lt)), set()
            known = in_last | seen if last == time_range.gte else in_last
            crowd = _read_crowded_second(fetch, query.with_range(key, TimeRange.of_second(last)), page, on_unproven)
            yield chain(new, _unseen(crowd, known))


def find_split(fetch: Fetch, query: Query, pages: int) -> int | None:
    """Return a Unix second before which the query has about so many pages, or None where it has fewer.

    It only tells where to cut a range in two: the rows that it looks at are still to be read.

    Args:
        fetch: Returns a page.
        query: Sorted by a time. The second is always later than the start of its range.
        pages: At most `LAST_PAGE`.

    Raises:
        WrongAnswerError: As with `read`.
    """
    page = fetch_page(fetch, replace(query, page=pages))
    if len(page.records) < PAGE_SIZE:
        return None
    return max(unix_seconds(page.seconds[-1]), query.range_of(query.time_key).gte + 1)


def _read_crowded_second(fetch: Fetch, query: Query, page: Page, on_unproven: OnUnproven) -> Iterator[Record]:
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


def _read_created_second(fetch: Fetch, query: Query, on_unproven: OnUnproven) -> Iterator[Record]:
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


def _read_all_ties(fetch: Fetch, query: Query, on_unproven: OnUnproven, **options: Any) -> Iterator[Record]:
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
