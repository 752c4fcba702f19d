"""Reads a long list in several windows of time at once, where no limit is announced. No HTTP and no SDK in here.

A page takes as long as the API takes to answer, however fast the program is. So once a few full pages came slowly, and
while the API announces no limit, the range that is left is cut into windows of up to thirty pages. Threads read them,
each window by seeking as ever, and their records are yielded in the order of a reading without any windows. What is in
memory is bounded by the windows at a time.

Where a limit shows up, no further window is cut: those that are begun are read to their end, and then the rest.
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
from tap_wootric.pagination.query import LAST_PAGE, PAGE_SIZE, Fetch, Query, TimeRange
from tap_wootric.records.transform import Record

_HEAD = 5
"""Full pages before windows are worth a request to cut one."""
_WORTH_IT = 0.8
"""Windows are read only where at least this share of the time goes into asking. Where the API answers at once, or the
target is slow to take the rows, threads cost more than they bring."""
_LENGTHS = (4, 8, 16, LAST_PAGE)
"""Pages of the first windows, then of all others. The first are short, so that a sync killed early wastes little. To
cut a window costs a request, and its last page is not full."""
_LEAST = 8
"""Pages of the last windows, so that no thread is left with much when the others have nothing to do."""
_PAGES_KEPT = 2 * LAST_PAGE
"""The most pages of a window that wait to be yielded. A crowded second may have any number."""
_PATIENCE = 0.2
"""Seconds to wait for threads to end. One that waits for the API does not."""


def read(fetch: Fetch, query: Query, concurrency: int, is_limited: Callable[[], bool]) -> Iterator[Record]:
    """Yield what `keyset.read` does, in the same order.

    Args:
        fetch: Returns a page. Threads call it.
        query: The ranges to read.
        concurrency: How many windows to read at a time; 1 for none.
        is_limited: Returns whether the API is known to limit such requests.

    Raises:
        Exception: What `fetch` or `keyset.read` raises, once all records before it are yielded.
    """
    place: keyset.Cursor | None = keyset.Cursor(query)
    while place:
        begun, asking = time.monotonic(), 0.0

        def timed(query: Query) -> list[Record]:
            nonlocal asking
            asked = time.monotonic()
            page = fetch(query)
            asking += time.monotonic() - asked
            return page

        for number, step in enumerate(keyset.iter_pages(timed, place), start=1):
            yield from step
            is_slow = asking >= _WORTH_IT * (time.monotonic() - begun)
            if number >= _HEAD and concurrency > 1 and is_slow and not is_limited() and not place.is_at_end():
                break
        else:
            return
        with _Windows(fetch, place, concurrency, is_limited) as windows:
            yield from windows
            place = windows.rest


@dataclass(slots=True)
class _Window:
    """A part of the range, and what was read of it: pages, and at their end None, or the error that ended them."""

    place: keyset.Cursor
    pages: Queue[list[Record] | Exception | None] = field(default_factory=lambda: Queue(_PAGES_KEPT))


class _Windows:
    """Iterates over the records of windows that threads read; a context manager that ends the threads.

    They are daemons: those of an executor would be waited for when the interpreter ends, each for an answer of the API.

    Attributes:
        rest: What no window covers yet; None once everything is covered.
    """

    def __init__(self, fetch: Fetch, place: keyset.Cursor, concurrency: int, is_limited: Callable[[], bool]) -> None:
        self.rest: keyset.Cursor | None = place
        self._fetch = fetch
        self._is_limited = is_limited
        self._cutting = threading.Lock()
        self._slots = threading.Semaphore(concurrency)
        self._in_order: SimpleQueue[_Window | BaseException | None] = SimpleQueue()
        self._lengths = iter(_LENGTHS)
        self._length = next(self._lengths)
        self._is_last = self._is_over = False
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(concurrency)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the threads; one that waits for the API ends when it has its answer."""
        self._is_over = True
        if isinstance(error, SystemExit):
            return  # A signal, which may have come while a queue was locked. The process ends, and the threads with it.
        self._slots.release(len(self._threads))
        for thread in self._threads:
            thread.join(_PATIENCE / len(self._threads))

    def __iter__(self) -> Iterator[Record]:
        while window := self._in_order.get():
            if isinstance(window, BaseException):
                raise window
            while page := window.pages.get():
                if isinstance(page, Exception):
                    raise page
                yield from page
            self._slots.release()

    # In the threads

    def _work(self) -> None:
        try:
            while window := self._next():
                self._read(window)
        except BaseException as error:  # noqa: BLE001 - Nobody is to wait for a thread that is no more.
            self._in_order.put(error)

    def _next(self) -> _Window | None:
        """Return the next window in time, or None where there is none, which ends the iteration, too.

        Once there is none, there is none any more: the iteration would end before it.
        """
        with self._cutting:
            self._slots.acquire()
            self._is_last = self._is_last or self._is_over or self._is_limited()
            if self._is_last or not self.rest:
                self._in_order.put(None)
                return None
            window, self.rest = _Window(self.rest), None
            self._in_order.put(window)
            try:
                self._shorten(window.place)
            except Exception as error:  # noqa: BLE001 - Raised where the records are yielded.
                self._put(window, error)
                return None
            return window

    def _shorten(self, place: keyset.Cursor) -> None:
        """Leave to a place some pages, and the rest to the next window."""
        query = place.query
        key, span = query.time_key, query.range_of(query.time_key)
        at = keyset.find_split(self._fetch, query, self._length)
        while at is None and self._length >= 2 * _LEAST:
            self._length //= 2
            at = keyset.find_split(self._fetch, query, self._length)
        self._length = next(self._lengths, self._length)
        if at is not None and at < span.lt:
            place.query = query.with_range(key, TimeRange(span.gte, at))
            self.rest = keyset.Cursor(query.with_range(key, TimeRange(at, span.lt)))

    def _read(self, window: _Window) -> None:
        end, page = None, list[Record]()
        try:
            for record in chain.from_iterable(keyset.iter_pages(self._fetch, window.place)):
                page.append(record)
                if len(page) == PAGE_SIZE:
                    self._put(window, page)
                    page = []
                if self._is_over:
                    return
        except Exception as error:  # noqa: BLE001 - The same.
            self._is_last, end = True, error
        if page:
            self._put(window, page)
        self._put(window, end)

    def _put(self, window: _Window, page: list[Record] | Exception | None) -> None:
        while not self._is_over:
            with suppress(Full):
                window.pages.put(page, timeout=_PATIENCE)
                return
