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
from tap_wootric.pagination.query import LAST_PAGE, PAGE_SIZE, Fetch, Query
from tap_wootric.records.transform import Record
from tap_wootric.threads import flat_map_in_order

_FIRST_PAGES = 14
"""Pages to read one by one first. Dividing a range costs a request, so a short sync does not pay for any."""

_MIN_WAITING_SHARE = 0.8
"""Partitions are read only if at least this share of the time was spent waiting for pages. If the API answers at once,
or the target is slow, threads cost more than they save: at best, they save the waiting."""

_MIN_PARTITION_PAGES = 12
"""Pages of the first partitions: with fewer, requests exceed 1.1 for 50 rows; with more, rows and threads wait."""

_PARTITION_SHARE = 16
"""A partition has one page for so many that come before it, up to `LAST_PAGE`: in a long list, requests matter more."""


def read(
    fetch: Fetch,
    query: Query,
    concurrency: int,
    is_limited: Callable[[], bool],
    monotonic: Callable[[], float] = time.monotonic,
) -> Iterator[Record]:
    """Yield what `keyset.read` does, in the same order.

    Args:
        fetch: Returns a page. Threads call it.
        query: The ranges to read.
        concurrency: How many partitions to read in parallel; 1 for none.
        is_limited: Returns whether the API is known to limit such requests. Threads call it.
        monotonic: Returns the time in seconds.

    Raises:
        Exception: Whatever `fetch`, `is_limited` or `keyset.read` raises, after all records before it.
    """
    rest: keyset.Cursor | None = keyset.Cursor(query)
    pages = 0
    while rest is not None:
        stopwatch = _Stopwatch(fetch, monotonic)
        for number, page in enumerate(keyset.iter_pages(stopwatch.fetch, rest), start=1):
            yield from page
            is_worthwhile = number >= _FIRST_PAGES and stopwatch.waiting_share() >= _MIN_WAITING_SHARE
            if is_worthwhile and concurrency > 1 and not is_limited() and not rest.is_at_end():
                pages += number
                break
        else:
            return
        partitioner = _Partitioner(fetch, rest, pages, is_limited)
        yield from flat_map_in_order(
            lambda cursor: chain.from_iterable(keyset.iter_pages(fetch, cursor)),
            partitioner.partitions(),
            threads=concurrency,
            max_started=concurrency,
            may_start=partitioner.may_start,
        )
        rest, pages = partitioner.rest, partitioner.pages


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

    def __init__(self, fetch: Fetch, rest: keyset.Cursor, pages: int, is_limited: Callable[[], bool]) -> None:
        self.rest: keyset.Cursor | None = rest
        self._fetch = fetch
        self._ends = [pages]
        """The pages up to the start of the first partition, and up to the end of each."""
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
        """Return whether to start a partition: at most as many pages are started as have been yielded before them."""
        end = self._ends[yielded_partitions + 1]
        yielded = min(end, self._ends[yielded_partitions] + yielded_records / PAGE_SIZE)
        return self.pages + self._next_length() <= 2 * yielded

    def _next_length(self) -> int:
        return min(max(_MIN_PARTITION_PAGES, self.pages // _PARTITION_SHARE), LAST_PAGE)
