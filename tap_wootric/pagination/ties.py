"""Rows that are equal on both clocks."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from tap_wootric.pagination.query import LAST_PAGE, PAGE_SIZE, Fetch, Query, UnprovenSecondError, fetch_page
from tap_wootric.records.timestamps import timestamp_of_second
from tap_wootric.records.transform import Record

_TURNS = 40
"""How often the pages of one second are read before giving up: until chance has shown the last of 1,500 rows, in
ln(1,500) turns and some more, and then the quiet ones."""
_TURNS_CUT_OFF = 7
"""The same where page 30 is full: each size of page once, and the largest, which reaches farthest, twice."""
_QUIET_TURNS = 20
"""After so many turns without a new row there is none. A turn shows at least 1 - 1/e of the rows where each request
brings them in a new order, so a row escapes all of them at odds of e**-20."""
_SIZES = 6
"""Pages have 50 rows in the first turn, then 49, down to 45, and again 50."""
_ALIKE = 25
"""Rows in the same order that are no work of chance."""


def read_ties(fetch: Fetch, query: Query) -> Iterator[Record]:
    """Yield the records of one second that is crowded on both clocks, until it is shown that they are complete.

    No row enters a second that is over (but by a late commit, which bookmarks allow for). Rows leave it when they
    are updated or deleted, and each one pulls the rows behind it forward. Pages that are read upwards then miss
    rows. Pages that are read **downwards**, from the last to the first, do not: a row can only move towards the
    pages that are still to be read. That holds while the order is the same for all pages, which is not promised
    among equal stamps: a database may well order them in one way for one page and in another way for the next.

    So the pages are read turn by turn, and cut at other places in each, until one of these shows that nothing is
    missing:

    - **The count**, in any order. A page that is not full tells how many rows there were at the time. Once as
      many have been seen at that time or later, they are all of them.
    - **The sequence**. Two turns that cut the pages differently show the rows in the same sequence, and no row
      twice but where two pages overlap: there is one order, and what was read downwards is complete.
    - **The silence**. Many turns without a new row, though they came in a new order each time: chance has shown
      them all.

    Pages end at 30, so past 1,500 rows the second is also read from its other end, and the two have to meet.
    """
    tally = _Tally()
    readings: dict[int, list[list[int]]] = {}
    previous: list[int] | None = None
    quiet = 0
    for turn in range(_TURNS):
        size, known = PAGE_SIZE - turn % _SIZES, len(tally.seen)
        pages, cut_off = yield from _turn(fetch, replace(query, size=size), tally)
        if tally.is_complete():
            return
        sequence = _sequence(pages)
        if previous and sequence and _agree(previous, sequence):
            if not cut_off:
                return
            backwards, _ = yield from _turn(fetch, replace(query, descending=True), tally)
            if tally.is_complete() or _have_met(sequence, _sequence(backwards)):
                return
        is_reordered = readings.get(size, pages) != pages
        quiet = quiet + 1 if is_reordered and len(tally.seen) == known else 0
        if quiet == _QUIET_TURNS and not cut_off:
            return
        if cut_off and turn + 1 >= _TURNS_CUT_OFF:
            break
        readings[size], previous = pages, sequence
    updated, created = (timestamp_of_second(span.gte) for span in (query.updated_at, query.created_at))
    raise UnprovenSecondError(
        f"{len(tally.seen)} rows that were created at {created}Z and updated at {updated}Z came in {tally.requests} "
        f"requests, and there may be more: within one second there are only page numbers to go by, which end at "
        f"{LAST_PAGE}"
    )


@dataclass(slots=True)
class _Tally:
    """Which rows of a second were seen when, counted in requests, and how many there were at the most."""

    requests: int = 0
    seen: dict[int, int] = field(default_factory=dict)
    at_most: list[tuple[int, int]] = field(default_factory=list)

    def add(self, query: Query, page: list[Record]) -> list[Record]:
        """Count the page that answers a query, and return those of its records that no earlier one held."""
        self.requests += 1
        new = [record for record in page if record["id"] not in self.seen]
        self.seen |= {record["id"]: self.requests for record in page}
        if len(page) < query.size:
            self.at_most.append((self.requests, (query.page - 1) * query.size + len(page)))
        return new

    def is_complete(self) -> bool:
        """Return whether, since some request, as many rows were seen as there were at the time of it."""
        return any(sum(last >= since for last in self.seen.values()) >= rows for since, rows in self.at_most)


def _turn(fetch: Fetch, query: Query, tally: _Tally) -> Generator[Record, None, tuple[list[list[int]], bool]]:
    """Read a second's pages up to the last one, from where it is likely to be, and then down to the first.

    Yields:
        The records that the tally did not have.

    Returns:
        The ids of each page as read downwards, the first page first, and whether there are more pages than the API
        answers.
    """

    def ask(number: int) -> Generator[Record, None, list[int]]:
        asked = replace(query, page=number)
        page = fetch_page(fetch, asked).records
        ids = [record["id"] for record in page]
        yield from tally.add(asked, page)
        return ids

    rows = tally.at_most[-1][1] if tally.at_most else len(tally.seen)
    last = min(rows // query.size + 1, LAST_PAGE)
    pages = [(yield from ask(last))]
    while len(pages[0]) >= query.size and last < LAST_PAGE:
        last += 1
        pages = [(yield from ask(last))]
    cut_off = len(pages[0]) >= query.size
    for number in range(last - 1, 0, -1):
        pages.insert(0, (yield from ask(number)))
    return pages, cut_off


def _sequence(pages: Iterable[list[int]]) -> list[int] | None:
    """Return the ids of pages that were read downwards in their sequence, or None where that is none.

    Neighbouring pages overlap where rows have left, and the end of the one is the beginning of the other. Any other
    row that comes twice shows that the pages are not of one order.
    """
    sequence: list[int] = []
    for page in pages:
        overlap = next(n for n in range(len(page), -1, -1) if sequence[len(sequence) - n :] == page[:n])
        sequence += page[overlap:]
    return sequence if len(set(sequence)) == len(sequence) else None


def _agree(one: Sequence[int], other: Sequence[int]) -> bool:
    """Return whether two sequences have their shared ids in the same order, and enough of them."""
    shared = set(one) & set(other)
    return len(shared) >= _ALIKE and [i for i in one if i in shared] == [i for i in other if i in shared]


def _have_met(forwards: Sequence[int], backwards: Sequence[int] | None) -> bool:
    """Return whether two readings of a list, from its two ends, leave no row between them.

    They share rows, and those stand in the one the other way round than in the other, but for a few neighbours
    with equal stamps. A row that both missed would lie behind all of these and before all of them.
    """
    places = {one: place for place, one in enumerate(backwards or ())}
    shared = [places[one] for one in forwards if one in places]
    alike = sum(place < following for place, following in pairwise(shared))
    return len(shared) >= _ALIKE and alike * 10 <= len(shared)
