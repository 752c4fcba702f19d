"""Keyset pagination over a list that changes while it is read, so that no row is lost.

A page is the head of a sorted list at the moment of the request, and between two requests the list changes. So only one
fact carries over from earlier requests: every row older than the last row of a page was on that page or an earlier one.
The next request therefore starts at the second of that last row, and skips the ids already seen in it. A row that
leaves the list can only pull later rows forward, onto a page that has not been read yet.

**No short page ends a list.** A page with fewer rows than were asked for proves nothing: a server may drop rows behind
its LIMIT, come short once, or put fewer rows on its pages than it was asked for. After a page with fewer rows than
usual, the reader looks at the other end of the remaining rows: the list ends only if there is nothing new. It looks
there after an empty page as well, except for the first page of a list that may be empty. If there are rows, the page is
asked for again, and it is an error if it comes empty once more.

A **crowded second** fills a whole page, and cannot be passed that way. Since pages may come short, any page whose rows
all share one second counts as full.

- If the API filters and sorts the list by another time as well (end users), the rows of the second are read by that
  time, in the same way. Rows that are updated meanwhile leave a second of updates, but none enters it. In a second of
  creations, they move to the end of the order of updates, among the few recently updated rows, which are counted.
- Otherwise, and in a second that is crowded by both times, all rows are counted; see `ties.py`.

If that does not prove a second complete, all its rows that can be reached are read, `on_unproven` is called, and the
reading goes on after that second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from tap_wootric.pagination.query import (
    END_OF_TIME,
    PAGE_SIZE,
    FetchPage,
    Query,
    TimeRange,
    UnprovenSecond,
    WrongAnswerError,
    fetch_page,
)
from tap_wootric.pagination.ties import read_ties
from tap_wootric.records.transform import Record


class KeysetReader:
    """Reads lists, or parts of one list.

    Args:
        fetch: Returns a page.
        on_unproven: Is told of each second that could not be proven complete, once all rows in reach have been yielded.
        settled_until: The Unix second before which the times of rows are settled: rows may leave a second before it,
            when they are updated or deleted, but only imports add any to it.

    Attributes:
        largest_page: The most rows that a page has had so far.
    """

    def __init__(
        self, fetch: FetchPage, on_unproven: Callable[[UnprovenSecond], object], settled_until: int = END_OF_TIME
    ) -> None:
        self._fetch = fetch
        self._on_unproven = on_unproven
        self._settled_until = settled_until
        self.largest_page = 0

    def read(self, query: Query, *, may_be_empty: bool = False) -> Iterator[Record]:
        """Yield every record in the query's ranges, sorted by its sort key to the second.

        A row that does not change meanwhile comes once, whatever happens to other rows. A row that changes may come
        again.

        Args:
            query: What to read.
            may_be_empty: Whether to believe an empty first page.

        Raises:
            WrongAnswerError: The API does not filter or sort as it was asked to, or does not show rows that exist.
        """
        key, seen = query.time_key, set[int]()
        while query.range_of(key):
            usual_size = self.largest_page or PAGE_SIZE
            page = fetch_page(self._fetch, query)
            if not page.records and not may_be_empty and (unknown := self._unknown_ids(query, seen)):
                page = fetch_page(self._fetch, query)  # A row may have entered in between.
                if not page.records and unknown & self._unknown_ids(query, seen):  # Nor has it left since.
                    raise WrongAnswerError("an empty page came twice, although rows follow it")
            if not page.records:
                return
            may_be_empty = False
            self.largest_page = max(self.largest_page, len(page.records))
            new = [record for record in page.records if record["id"] not in seen]
            yield from new
            rest = query.starting_at(page.last_second)
            known = page.ids_of_last_second() | (seen if rest == query else set())
            # A single row can't fill a page: no server puts one row on a page when it is asked for 50.
            is_crowded = page.is_of_one_second and len(page.records) > 1
            may_be_last = len(page.records) < usual_size or not new
            if may_be_last and not is_crowded and not self._unknown_ids(rest, known):
                return
            if is_crowded or not new:  # The next page would begin with the same rows, and might show no others.
                yield from self._read_second(rest.with_range(key, TimeRange.of_second(page.last_second)), known)
                query, seen = query.starting_at(page.last_second + 1), set()
            else:
                query, seen = rest, known

    def _unknown_ids(self, rest: Query, known: set[int]) -> set[int]:
        """Return the ids of rows that are not known, by a look at the other end of the rest of a list."""
        ids = {record["id"] for record in fetch_page(self._fetch, replace(rest, descending=True)).records}
        if known and ids <= known and (len(known) > 1 or not ids):
            # Ties may come in the same order in both directions; and fewer rows than are known are a short page.
            ids = {record["id"] for record in fetch_page(self._fetch, rest).records}
        return ids - known

    def _read_second(self, query: Query, known: set[int]) -> Iterator[Record]:
        """Yield the records of one second, once each and without those that are known.

        Args:
            query: Limited to a second of its sort key.
            known: The ids of rows in that second that have been yielded already.
        """
        other = query.other_time_key
        if not other or len(query.range_of(other)) == 1:
            yield from self._read_ties(query, known)
        elif other == "created_at":
            yield from self._read_others(replace(query, sort_key=other), known)
        else:
            # A row that two transactions update at once may move back, by at most as much as commits may be late.
            start, settled = query.updated_at.gte, self._settled_until
            yield from self._read_others(replace(query, sort_key=other, updated_at=TimeRange(start, settled)), known)
            recent = replace(query, updated_at=TimeRange(max(start, settled), END_OF_TIME))
            yield from self._read_ties(recent, known)

    def _read_others(self, query: Query, known: set[int]) -> Iterator[Record]:
        """Yield what `read` does, except for records whose ids are known."""
        for record in self.read(query):
            if record["id"] not in known:
                known.add(record["id"])
                yield record

    def _read_ties(self, query: Query, known: set[int]) -> Iterator[Record]:
        is_recent = max(query.updated_at.gte, query.created_at.gte) >= self._settled_until
        reason = yield from read_ties(self._fetch, query, known, self.largest_page, may_enter=is_recent)
        if reason:
            self._on_unproven(UnprovenSecond(query, len(known), reason))
