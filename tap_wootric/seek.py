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

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, pairwise
from typing import Literal

from tap_wootric.rows import SECOND, Record, unix_seconds, utc_second

PAGE_SIZE = 50
"""The most rows that the API puts on one page (documented)."""

LAST_PAGE = 30
"""The highest page number that the API answers (documented)."""

Clock = Literal["updated_at", "created_at"]

_OTHER: dict[Clock, Clock] = {"updated_at": "created_at", "created_at": "updated_at"}
ALWAYS = unix_seconds("0001-01-01T00:00:00Z")
"""The beginning of a range that has none."""

FOREVER = unix_seconds("9999-12-31T23:59:59Z")
"""The end of a range that has none."""

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


@dataclass(frozen=True, slots=True)
class Span:
    """Whole seconds from `gte` to before `lt`, as Unix seconds.

    Half-open ranges on whole seconds mean the same whether the API stores fractions of a second or not; every
    other comparison does not (a row shown as 10:00:05 may be 10:00:05.7).
    """

    gte: int = ALWAYS
    lt: int = FOREVER

    @classmethod
    def second(cls, second: int) -> Span:
        """Return the span of one second."""
        return cls(second, second + 1)

    def __contains__(self, second: int) -> bool:
        return self.gte <= second < self.lt

    def __len__(self) -> int:
        return max(0, self.lt - self.gte)


@dataclass(frozen=True, slots=True)
class Query:
    """One request for a page of a list."""

    order_by: Clock
    updated_at: Span = field(default_factory=Span)
    created_at: Span = field(default_factory=Span)
    descending: bool = False
    page: int = 1
    size: int = PAGE_SIZE
    """The most rows that the page is to have."""
    one_clock: bool = False
    """Whether the API sorts and filters by the clock of `order_by` alone."""

    def span(self, clock: Clock) -> Span:
        """Return the range that the rows have to be in on a clock."""
        return self.updated_at if clock == "updated_at" else self.created_at

    def within(self, clock: Clock, span: Span) -> Query:
        """Return the same query with another range on a clock."""
        return replace(self, updated_at=span) if clock == "updated_at" else replace(self, created_at=span)


Fetch = Callable[[Query], list[Record]]
"""Returns the page that answers a query: records with an `id`, and with both stamps in the form of `rows.utc`.
A stamp may be missing; such a row belongs where the API put it."""


class SeekError(Exception):
    """Going on would lose rows."""


class WrongAnswerError(SeekError):
    """A page does not answer its query: it is out of order or out of range."""


class UnprovenSecondError(SeekError):
    """The rows of one second could not be shown to be complete."""


@dataclass(slots=True)
class Place:
    """How far a reading is: what is left to ask for, and the ids that came of the second that this starts at."""

    query: Query
    seen: set[int] = field(default_factory=set)

    def is_end(self) -> bool:
        """Return whether nothing is left."""
        return not self.query.span(self.query.order_by)


def read(fetch: Fetch, query: Query) -> Iterator[Record]:
    """Yield every record in the query's ranges, in the order of its clock, to the second.

    A row that stands still while this runs comes once, whatever the other rows do. One that changes may come again.

    Raises:
        UnprovenSecondError: A second is too crowded on both clocks, or never settles.
        WrongAnswerError: The API does not filter or does not sort as it was asked to.
    """
    return chain.from_iterable(steps(fetch, Place(query)))


def steps(fetch: Fetch, place: Place) -> Iterator[Iterable[Record]]:
    """Yield what `read` does step by step; once one is used up, the place is that from which to go on.

    Raises:
        UnprovenSecondError, WrongAnswerError: As with `read`, while a step is used up, too.
    """
    clock = place.query.order_by
    while not place.is_end():
        query, seen = place.query, place.seen
        end = query.span(clock).lt
        page = _page(fetch, query)
        new = [record for record in page.records if record["id"] not in seen]
        if len(page.records) < PAGE_SIZE:
            place.query = query.within(clock, Span(end, end))
            yield new
            return
        last = unix_seconds(page.seconds[-1])
        in_last = page.ids_of_last_second()
        if page.seconds[0] < page.seconds[-1]:
            place.query, place.seen = query.within(clock, Span(last, end)), in_last
            yield new
        else:
            place.query, place.seen = query.within(clock, Span(last + 1, end)), set()
            known = in_last | seen if last == query.span(clock).gte else in_last
            crowd = _crowded_second(fetch, query.within(clock, Span.second(last)))
            yield chain(new, (record for record in crowd if record["id"] not in known))


def look_ahead(fetch: Fetch, query: Query, pages: int) -> int | None:
    """Return a Unix second up to which there are about so many pages, at most 30, in the order of the query's clock.

    It is a place to cut at, and nothing more: the rows that were looked at are still to be read. It is always
    later than the query's start, and None where there are fewer pages.

    Raises:
        WrongAnswerError: As with `read`.
    """
    page = _page(fetch, replace(query, page=pages))
    if len(page.records) < PAGE_SIZE:
        return None
    return max(unix_seconds(page.seconds[-1]), query.span(query.order_by).gte + 1)


@dataclass(frozen=True, slots=True)
class _Page:
    """Records in the order of a clock, and the second of each; a time in the form of `rows.utc_second`."""

    records: list[Record]
    seconds: list[str]

    def ids_of_last_second(self) -> set[int]:
        last = self.seconds[-1]
        return {record["id"] for record, second in zip(self.records, self.seconds, strict=True) if second == last}


def _page(fetch: Fetch, query: Query) -> _Page:
    """Fetch a page, and see to it that it answers the query."""
    records = fetch(query)
    for clock in _OTHER:
        span = query.span(clock)
        if span == Span():
            continue
        first, behind = utc_second(span.gte), utc_second(span.lt)
        stamps = [stamp[:SECOND] for record in records if (stamp := record.get(clock))]
        if not all(first <= stamp < behind for stamp in stamps):
            raise WrongAnswerError(f"rows came from outside the range of {clock} that was asked for")
    seconds = _seconds(records, query)
    if seconds != sorted(seconds, reverse=query.descending):
        raise WrongAnswerError(f"rows that were to be sorted by {query.order_by} came in another order")
    return _Page(records, seconds)


def _seconds(records: list[Record], query: Query) -> list[str]:
    """Return the records' seconds on the query's clock; one without a stamp takes that of the row before it."""
    stamps = [record.get(query.order_by) for record in records]
    if len(records) >= PAGE_SIZE and not any(stamps):
        raise WrongAnswerError(f"rows came without {query.order_by}")
    second = utc_second(query.span(query.order_by).gte)
    return [second := stamp[:SECOND] if stamp else second for stamp in stamps]


def _crowded_second(fetch: Fetch, query: Query) -> Iterator[Record]:
    """Yield the records of one second of the query's clock, by the other clock where that one is less crowded."""
    other = _OTHER[query.order_by]
    if len(query.span(other)) > 1 and not query.one_clock:
        return read(fetch, replace(query, order_by=other))
    return _both_clocks(fetch, query)


def _both_clocks(fetch: Fetch, query: Query) -> Iterator[Record]:
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
    updated, created = (utc_second(span.gte) for span in (query.updated_at, query.created_at))
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
        page = _page(fetch, asked).records
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
