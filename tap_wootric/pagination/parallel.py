"""Reads a long list in partitions, several at a time, if the API is slow and announces no rate limit.

A page takes as long as the API takes to respond, however fast the program is. So once a few full pages came slowly, the
rest of the range is cut into partitions of up to 30 pages. Threads read them, each partition by keyset pagination, and
their records are yielded in the order of a sequential reading. Memory is bounded by the partitions in progress.

If the API announces a limit meanwhile, no further partition is begun. Those that were begun are read to their end, and
the rest of the range is read sequentially.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from queue import Full, Queue, SimpleQueue
from types import TracebackType
from typing import Self

from tap_wootric.pagination import keyset
from tap_wootric.pagination.keyset import Cursor
from tap_wootric.pagination.query import LAST_PAGE, PAGE_SIZE, Fetch, Query, TimeRange
from tap_wootric.records.transform import Record

_SEQUENTIAL_PAGES = 5
"""Full pages to read before the first partition. To begin one takes a request, which shorter lists do without."""

_MIN_WAITING_SHARE = 0.8
"""Partitions are only read if at least this share of the time is spent waiting for the API. If it responds at once, or
the target is slow to take the records, threads cost more than they save."""

_PARTITION_PAGES = (4, 8, 16, LAST_PAGE)
"""Pages of the first partitions, and of all further ones. The first are short, so that a sync that is killed early
repeats little. The later ones are long, because each takes a request to begin, and its last page is not full."""

_MIN_PARTITION_PAGES = 8
"""Pages of the last partitions, so that the other threads do not idle while one still has much to read."""

_MAX_BUFFERED_PAGES = 2 * LAST_PAGE
"""The most pages of a partition that wait to be yielded. A crowded second may have any number."""

_POLL_SECONDS = 0.2
"""How often a thread that waits for room in a full buffer looks whether it is to end; and how long to wait for threads
to end. Those that are waiting for a response are abandoned."""


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
        concurrency: How many partitions to read at a time; 1 for none.
        is_limited: Returns whether the API is known to limit such requests.
        monotonic: Returns seconds that never jump.

    Raises:
        Exception: Whatever `fetch` or `keyset.read` raises, after all records before it have been yielded.
    """
    cursor: Cursor | None = Cursor(query)
    while cursor:
        yield from _read_first_pages(fetch, cursor, concurrency, is_limited, monotonic)
        if cursor.is_at_end():
            return
        with _PartitionReader(fetch, cursor, concurrency, is_limited) as reader:
            yield from reader
            cursor = reader.rest


def _read_first_pages(
    fetch: Fetch, cursor: Cursor, concurrency: int, is_limited: Callable[[], bool], monotonic: Callable[[], float]
) -> Iterator[Record]:
    """Yield the records of pages one after another, and return once partitions are worth it."""
    started_at, waited = monotonic(), 0.0

    def timed_fetch(query: Query) -> list[Record]:
        nonlocal waited
        requested_at = monotonic()
        page = fetch(query)
        waited += monotonic() - requested_at
        return page

    for number, records in enumerate(keyset.iter_pages(timed_fetch, cursor), start=1):
        yield from records
        is_waiting = waited >= _MIN_WAITING_SHARE * (monotonic() - started_at)
        if number >= _SEQUENTIAL_PAGES and concurrency > 1 and is_waiting and not is_limited():
            return


@dataclass(frozen=True, slots=True)
class _Rows:
    """Records of a partition, about a page of them."""

    records: list[Record]


@dataclass(frozen=True, slots=True)
class _Failed:
    """Reading ended with an error."""

    error: BaseException


@dataclass(frozen=True, slots=True)
class _Finished:
    """Nothing comes after this."""


@dataclass(slots=True)
class _Partition:
    """A part of the range, and what has been read of it."""

    cursor: Cursor
    results: Queue[_Rows | _Failed | _Finished] = field(default_factory=lambda: Queue(_MAX_BUFFERED_PAGES))


class _PartitionReader:
    """Iterates over the records of partitions that threads read; a context manager that ends the threads.

    The threads are daemons. An executor would wait for its threads when the interpreter ends, and each of those may be
    waiting for a response.

    Attributes:
        rest: What no partition covers yet. None once everything is covered.
    """

    def __init__(self, fetch: Fetch, cursor: Cursor, concurrency: int, is_limited: Callable[[], bool]) -> None:
        self.rest: Cursor | None = cursor
        self._fetch = fetch
        self._is_limited = is_limited
        self._lock = threading.Lock()
        """Held while a partition is cut off the rest."""
        self._free_slots = threading.Semaphore(concurrency)
        """One for each partition that may be in progress or wait to be yielded."""
        self._in_order: SimpleQueue[_Partition | _Failed | _Finished] = SimpleQueue()
        self._lengths = iter(_PARTITION_PAGES)
        self._length = next(self._lengths)
        self._has_begun_all = False
        self._is_closed = False
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(concurrency)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_closed = True
        if isinstance(error, SystemExit):
            return  # A signal may have arrived while a queue was locked. The process ends, and the threads with it.
        self._free_slots.release(len(self._threads))
        for thread in self._threads:
            thread.join(_POLL_SECONDS / len(self._threads))

    def __iter__(self) -> Iterator[Record]:
        while True:
            match self._in_order.get():
                case _Partition() as partition:
                    yield from self._records_of(partition)
                    self._free_slots.release()
                case _Failed(error):
                    raise error
                case _Finished():
                    return

    @staticmethod
    def _records_of(partition: _Partition) -> Iterator[Record]:
        while True:
            match partition.results.get():
                case _Rows(records):
                    yield from records
                case _Failed(error):
                    raise error
                case _Finished():
                    return

    # In the threads

    def _work(self) -> None:
        try:
            while (partition := self._begin_next()) is not None:
                self._read(partition)
        except BaseException as error:  # noqa: BLE001 - Forward it, so that the consumer never waits for a dead thread.
            self._in_order.put(_Failed(error))

    def _begin_next(self) -> _Partition | None:
        """Return the next partition, or None if there is none. After that, no other thread gets one either."""
        with self._lock:
            self._free_slots.acquire()
            self._has_begun_all = self._has_begun_all or self._is_closed or self._is_limited()
            if self._has_begun_all or self.rest is None:
                self._in_order.put(_Finished())
                return None
            partition = _Partition(self.rest)
            self._in_order.put(partition)
            self.rest = None
            try:
                self.rest = self._cut_off_rest(partition.cursor)
            except Exception as error:  # noqa: BLE001 - Raised where the partition's records would be yielded.
                self._put(partition, _Failed(error))
                return None
            return partition

    def _cut_off_rest(self, cursor: Cursor) -> Cursor | None:
        """Leave some pages to a cursor, and return one for the rest, or None if there is no rest."""
        query = cursor.query
        time_range = query.range_of(query.time_key)
        split = keyset.find_split(self._fetch, query, self._length)
        while split is None and self._length >= 2 * _MIN_PARTITION_PAGES:
            self._length //= 2
            split = keyset.find_split(self._fetch, query, self._length)
        self._length = next(self._lengths, self._length)
        if split is None or split >= time_range.lt:
            return None
        cursor.query = query.with_range(query.time_key, TimeRange(time_range.gte, split))
        return Cursor(query.with_range(query.time_key, TimeRange(split, time_range.lt)))

    def _read(self, partition: _Partition) -> None:
        records: list[Record] = []
        result: _Failed | _Finished = _Finished()
        try:
            for record in chain.from_iterable(keyset.iter_pages(self._fetch, partition.cursor)):
                records.append(record)
                if len(records) == PAGE_SIZE:
                    self._put(partition, _Rows(records))
                    records = []
                if self._is_closed:
                    return
        except Exception as error:  # noqa: BLE001 - Raised after the records before it.
            self._has_begun_all, result = True, _Failed(error)
        self._put(partition, _Rows(records))
        self._put(partition, result)

    def _put(self, partition: _Partition, result: _Rows | _Failed | _Finished) -> None:
        while not self._is_closed:
            with suppress(Full):
                partition.results.put(result, timeout=_POLL_SECONDS)
                return
