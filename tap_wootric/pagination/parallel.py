"""Reads several partitions of a long list in parallel, if the API is slow and announces no rate limit. Pure.

One reading waits for the API nearly all the time: each page tells where the next one starts, so requests cannot
overlap. But the time range can be cut into partitions that do not depend on each other, each with a reading of its own
(see `keyset.py`):

    pages 1 to 5       partition 1    partition 2    partition 3     partition 4 ...    the rest
    one by one         4 pages        8 pages        16 pages        30 pages           one by one, after a limit

1. **The first pages are read one by one.** Most syncs are short and end there. If they show that the API is slow and
   they were full, partitions can pay off.
2. **Threads cut and read partitions.** To cut one costs a request: page N of what is left starts where the partition of
   N pages ends. A thread cuts the next partition only when it is free, so none is cut in vain.
3. **Records are yielded in order**, as one reading would yield them, so the bookmark means the same. Memory is bounded:
   there are never more partitions in memory than the threads that read them.
4. **A limit ends it.** As soon as the API announces one, no partition is cut any more. Those begun are read to their
   end, and the rest is read one by one, as from step 1.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import chain

from tap_wootric.pagination import keyset
from tap_wootric.pagination.query import LAST_PAGE, Fetch, OnUnproven, Query, TimeRange, raise_unproven
from tap_wootric.records.transform import Record
from tap_wootric.threads import flat_map_in_order

_MIN_FULL_PAGES = 5
"""Pages to read one by one first. Cutting a partition costs a request, so a short sync does not pay for any."""

_MIN_WAITING_SHARE = 0.8
"""Partitions are read only if at least this share of the time was spent waiting for pages. If the API answers at once,
or the target is slow, threads cost more than they save: at best, they save the waiting."""

_PARTITION_PAGES = (4, 8, 16, LAST_PAGE)
"""Pages of the first partitions, then of all others. The first are short, so that records flow soon, and a sync that is
killed early has read little in vain. The others are as long as can be, because each costs one request to cut and ends
with a page that is not full: 328 requests instead of 308 for 15,000 rows (see the benchmark in README.md)."""

_MIN_LAST_PARTITION_PAGES = 8
"""Near the end, partitions are halved down to about this, so that no thread reads alone while the others are idle."""


def read(  # noqa: PLR0913 - The last two are rarely set.
    fetch: Fetch,
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
    while rest is not None:
        stopwatch = _Stopwatch(fetch, monotonic)
        for number, page in enumerate(keyset.iter_pages(stopwatch.fetch, rest, on_unproven), start=1):
            yield from page
            is_worthwhile = number >= _MIN_FULL_PAGES and stopwatch.waiting_share() >= _MIN_WAITING_SHARE
            if is_worthwhile and concurrency > 1 and not is_limited() and not rest.is_at_end():
                break
        else:
            return
        partitioner = _Partitioner(fetch, rest, is_limited)
        yield from flat_map_in_order(
            lambda cursor: chain.from_iterable(keyset.iter_pages(fetch, cursor, on_unproven)),
            partitioner.partitions(),
            threads=concurrency,
            max_started=concurrency,
        )
        rest = partitioner.rest


class _Stopwatch:
    """Measures how much of the time is spent waiting for pages."""

    def __init__(self, fetch: Fetch, monotonic: Callable[[], float]) -> None:
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
    """Cuts partitions off the start of a range.

    Attributes:
        rest: What is in no partition yet; None once everything is.
    """

    def __init__(self, fetch: Fetch, cursor: keyset.Cursor, is_limited: Callable[[], bool]) -> None:
        self.rest: keyset.Cursor | None = cursor
        self._fetch = fetch
        self._is_limited = is_limited

    def partitions(self) -> Iterator[keyset.Cursor]:
        """Yield the partitions in order, until nothing is left or a limit is announced."""
        lengths = iter(_PARTITION_PAGES)
        pages = next(lengths)
        while self.rest is not None and not self._is_limited():
            partition, self.rest = self.rest, None
            query = partition.query
            key, time_range = query.time_key, query.range_of(query.time_key)
            split = keyset.find_split(self._fetch, query, pages)
            while split is None and pages >= 2 * _MIN_LAST_PARTITION_PAGES:
                pages //= 2
                split = keyset.find_split(self._fetch, query, pages)
            pages = next(lengths, pages)
            if split is not None and split < time_range.lt:
                partition.query = query.with_range(key, TimeRange(time_range.gte, split))
                self.rest = keyset.Cursor(query.with_range(key, TimeRange(split, time_range.lt)))
            yield partition
