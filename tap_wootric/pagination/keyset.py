"""In which order to ask for the rows of a live list, so that none is lost. No HTTP and no SDK in here.

A page is the head of a sorted list at the moment of the request, and between two requests the list changes. So
no request counts on what an earlier one saw, but for this: whatever is older than the last row of a page was on
that page or on one before it. The next request therefore starts at that row's second and skips the ids that were
seen in it. A row that leaves the list can only pull later rows forward, into a page that is not read yet.

A **crowded second**, one that fills a whole page, cannot be passed that way. Its rows are read by the other
clock instead: the same reading, sorted by creation within the second of the update (or the reverse). A second
that is crowded on both clocks leaves nothing but page numbers; see `_both_clocks`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import chain

from tap_wootric.pagination.query import OTHER_KEY, PAGE_SIZE, Fetch, Query, TimeRange, fetch_page
from tap_wootric.pagination.ties import read_ties
from tap_wootric.records.timestamps import unix_seconds
from tap_wootric.records.transform import Record


@dataclass(slots=True)
class Cursor:
    """How far a reading is: what is left to ask for, and the ids that came of the second that this starts at."""

    query: Query
    seen: set[int] = field(default_factory=set)

    def is_end(self) -> bool:
        """Return whether nothing is left."""
        return not self.query.range_of(self.query.order_by)


def read(fetch: Fetch, query: Query) -> Iterator[Record]:
    """Yield every record in the query's ranges, in the order of its clock, to the second.

    A row that stands still while this runs comes once, whatever the other rows do. One that changes may come again.

    Raises:
        UnprovenSecondError: A second is too crowded on both clocks, or never settles.
        WrongAnswerError: The API does not filter or does not sort as it was asked to.
    """
    return chain.from_iterable(iter_pages(fetch, Cursor(query)))


def iter_pages(fetch: Fetch, place: Cursor) -> Iterator[Iterable[Record]]:
    """Yield what `read` does step by step; once one is used up, the place is that from which to go on.

    Raises:
        UnprovenSecondError, WrongAnswerError: As with `read`, while a step is used up, too.
    """
    clock = place.query.order_by
    while not place.is_end():
        query, seen = place.query, place.seen
        end = query.range_of(clock).lt
        page = fetch_page(fetch, query)
        new = [record for record in page.records if record["id"] not in seen]
        if len(page.records) < PAGE_SIZE:
            place.query = query.with_range(clock, TimeRange(end, end))
            yield new
            return
        last = unix_seconds(page.seconds[-1])
        in_last = page.ids_of_last_second()
        if page.seconds[0] < page.seconds[-1]:
            place.query, place.seen = query.with_range(clock, TimeRange(last, end)), in_last
            yield new
        else:
            place.query, place.seen = query.with_range(clock, TimeRange(last + 1, end)), set()
            known = in_last | seen if last == query.range_of(clock).gte else in_last
            crowd = _crowded_second(fetch, query.with_range(clock, TimeRange.of_second(last)))
            yield chain(new, (record for record in crowd if record["id"] not in known))


def find_split(fetch: Fetch, query: Query, pages: int) -> int | None:
    """Return a Unix second up to which there are about so many pages, at most 30, in the order of the query's clock.

    It is a place to cut at, and nothing more: the rows that were looked at are still to be read. It is always
    later than the query's start, and None where there are fewer pages.

    Raises:
        WrongAnswerError: As with `read`.
    """
    page = fetch_page(fetch, replace(query, page=pages))
    if len(page.records) < PAGE_SIZE:
        return None
    return max(unix_seconds(page.seconds[-1]), query.range_of(query.order_by).gte + 1)


def _crowded_second(fetch: Fetch, query: Query) -> Iterator[Record]:
    """Yield the records of one second of the query's clock, by the other clock where that one is less crowded."""
    other = OTHER_KEY[query.order_by]
    if len(query.range_of(other)) > 1 and not query.single_sort_key:
        return read(fetch, replace(query, order_by=other))
    return read_ties(fetch, query)
