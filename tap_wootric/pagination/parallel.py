"""Reads several partitions of a long list in parallel, if the API is slow and announces no rate limit. Pure.

One reading waits for the API nearly all the time: each page tells where the next one starts, so requests cannot
overlap. But the time range can be cut into partitions that do not depend on each other, each with a reading of its own
(see `keyset.py`):

    pages 1 to 14      partition 1    partition 2    ...    partition 18   ...    the rest
    one by one         12 pages       12 pages              13 pages              one by one, after a limit

1. **The first pages are read one by one.** Most syncs are short and end there. If they show that the API is slow and
   they were full, partitions can pay off.
2. **Threads cut and read partitions.** To cut one costs a request: a page further on tells where the partition ends.
   What that page shows behind the end is not asked for again.
3. **Records are yielded in order**, as one reading would yield them, so the bookmark means the same. Memory is bounded:
   there are never more partitions in memory than the threads that read them.
4. **Threads stay close to what was yielded**, because a sync that is killed has read everything beyond in vain. Each
   cuts the next partition only when it is free, and enough has been yielded.
5. **A limit ends it.** As soon as the API announces one, no partition is cut any more. Those begun are read to their
   end, and the rest is read one by one, as from step 1.

Measured with 4 threads and rows at different times: from 60 pages on, a list takes at most 1.10 requests for 50 rows.
For 15,000 rows it takes 1.08, where a single reading takes 1.02; for 100,000 it takes 1.04. A sync of 5,000 rows that
is killed eight times takes 1.1 to 1.4 times the requests of an undisturbed one. With partitions from page 5 on, 15,000
rows would take 12% less time, but 60 pages 1.18 requests for 50 rows, and a killed sync twice the requests.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import chain

from tap_wootric.pagination import keyset
from tap_wootric.pagination.query import LAST_PAGE, PAGE_SIZE, FetchPage, OnUnproven, Query, raise_unproven
from tap_wootric.records.transform import Record
from tap_wootric.threads import flat_map_in_order

_FIRST_PAGES = 14
"""Pages to read one by one first. To cut a partition costs a request, so a short sync does not pay for any."""

_MIN_WAITING_SHARE = 0.8
"""Partitions are read only if at least this share of the time was spent waiting for pages. If the API answers at once,
or the target is slow, threads cost more than they save: at best, they save the waiting."""

_MIN_PARTITION_PAGES = 12
"""Pages of the first partitions. With 10 of them, a list of 64 pages takes 1.11 requests for 50 rows, and not 1.09."""

_PAGES_BEFORE_PER_PAGE = 16
"""A later partition is longer: one page for this many pages before it, up to `LAST_PAGE`. Long ones save requests, but
the last one is read by one thread alone."""

_LEAD_PER_THREAD = 0.3
"""How many pages each thread may be ahead, as a share of the pages that have been yielded. With 0.25, 15,000 rows take
3% longer."""


def read(  # noqa: PLR0913 - The last two are rarely set.
    fetch: FetchPage,
    query: Query,
    concurrency: int,
    is_limited: Callable[[], bool],
    monotonic: Callable[[], float] = time.monotonic,
    *,
    on_unproven: OnUnproven = raise_unproven,
) -> Iterator[Record]:
    """Yield what `keyset.read` does, in the same order.

    Args:
        fetch: Returns a page. Threads call it.
        query: The ranges to read.
        concurrency: How many partitions to read in parallel; 1 for none.
        is_limited: Returns whether the API is known to limit such requests. Threads call it.
        monotonic: Returns the time in seconds.
        on_unproven: As with `keyset.read`. Threads call it.

    Raises:
        Exception: Whatever `fetch`, `is_limited` or `keyset.read` raises, after all records before it.
    """
    rest: keyset.Cursor | None = keyset.Cursor(query)
    pages = 0
    while rest is not None:
        stopwatch = _Stopwatch(fetch, monotonic)
        for number, page in enumerate(keyset.iter_pages(stopwatch.fetch, rest, on_unproven), start=1):
            yield from page
            is_worthwhile = number >= _FIRST_PAGES and stopwatch.waiting_share() >= _MIN_WAITING_SHARE
            if is_worthwhile and concurrency > 1 and not is_limited() and not rest.is_at_end():
                pages += number
                break
        else:
            return
        partitioner = _Partitioner(fetch, rest, pages, concurrency * _LEAD_PER_THREAD, is_limited)
        yield from flat_map_in_order(
            lambda cursor: chain.from_iterable(keyset.iter_pages(fetch, cursor, on_unproven)),
            partitioner.partitions(),
            threads=concurrency,
            max_started=concurrency,
            may_start=partitioner.may_start,
        )
        rest, pages = partitioner.rest, partitioner.pages


class _Stopwatch:
    """Measures how much of the time is spent waiting for pages."""

    def __init__(self, fetch: FetchPage, monotonic: Callable[[], float]) -> None:
        self._fetch = fetch
        self._monotonic = monotonic
        self._start = monotonic()
        self._waiting_seconds = 0.0

    def fetch(self, query: Query) -> list[Record]:
        """Return a page, and add up the time that it took."""
        start = self._monotonic()
        page = self._fetch(query)
        self._waiting_seconds += self._monotonic() - start
        return page

    def waiting_share(self) -> float:
        """Return the share of the time since the start, from 0 to 1."""
        seconds = self._monotonic() - self._start
        return self._waiting_seconds / seconds if seconds else 1


class _Partitioner:
    """Cuts partitions off the start of a list.

    Attributes:
        rest: What is in no partition yet; None once everything is.
    """

    def __init__(
        self, fetch: FetchPage, rest: keyset.Cursor, pages: int, max_lead: float, is_limited: Callable[[], bool]
    ) -> None:
        self.rest: keyset.Cursor | None = rest
        self._fetch = fetch
        self._ends = [pages]
        """The pages before the first partition, and those up to the end of each."""
        self._max_lead = max_lead
        self._is_limited = is_limited

    @property
    def pages(self) -> int:
        """About how many pages come before the rest."""
        return self._ends[-1]

    def partitions(self) -> Iterator[keyset.Cursor]:
        """Yield the partitions in order, until nothing is left or a limit is announced."""
        while self.rest is not None and not self._is_limited():
            partition, self.rest = self.rest, None
            length = self._next_length()
            if not partition.is_at_end():
                partition, self.rest = keyset.split(self._fetch, partition, length)
            self._ends.append(self.pages + length)
            yield partition

    def may_start(self, yielded_partitions: int, yielded_records: int) -> bool:
        """Return whether the end of the next partition is close enough to what has been yielded."""
        end = self._ends[yielded_partitions + 1]
        yielded = min(end, self._ends[yielded_partitions] + yielded_records / PAGE_SIZE)
        return self.pages + self._next_length() - yielded <= self._max_lead * yielded

    def _next_length(self) -> int:
        return min(max(_MIN_PARTITION_PAGES, self.pages // _PAGES_BEFORE_PER_PAGE), LAST_PAGE)
