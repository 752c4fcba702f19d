"""Reads a long list in several windows of time at once, where no limit is announced. No HTTP and no SDK in here.

A page takes as long as the API takes to answer, however fast the program is. So once a few full pages came, and while
the API announces no limit, the range that is left is cut into windows of up to thirty pages. Threads read them, each
window by seeking as ever, and their records are yielded in the order of a reading without any windows. What is in
memory is bounded by the windows at a time.

Where a limit shows up, no further window is cut: those that are begun are read to their end, and then the rest.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain, islice
from queue import Full, Queue
from types import TracebackType
from typing import Self

from tap_wootric import seek
from tap_wootric.rows import Record

_HEAD = 5
"""Full pages before windows are worth a request to cut one."""
_SIZES = (4, 8, 16, seek.LAST_PAGE)
"""Pages of the first windows, which are short so that little is read in vain where a sync is killed early, and of the
others. To cut one costs a request, and a page that is not full."""
_LEAST = 8
"""Pages of the last windows, so that no thread is left with much when the others have nothing to do."""
_PAGES_AHEAD = 2 * seek.LAST_PAGE
"""The most pages of a window that wait to be yielded. A crowded second may have any number."""
_PATIENCE = 0.2
"""Seconds to wait for threads to end. One that waits for the API does not."""


def read(fetch: seek.Fetch, query: seek.Query, at_once: Callable[[], int]) -> Iterator[Record]:
    """Yield what `seek.read` does, in the same order.

    Args:
        fetch: Returns a page. Threads call it.
        query: The ranges to read.
        at_once: Returns how many windows to read at a time, at the moment; 1 where there are to be none.

    Raises:
        Exception: What `fetch` or `seek.read` raises, once all records before it are yielded.
    """
    place: seek.Place | None = seek.Place(query)
    while place:
        for number, step in enumerate(seek.steps(fetch, place), start=1):
            yield from step
            if number >= _HEAD and at_once() > 1 and not place.is_end():
                break
        else:
            return
        with _Windows(fetch, place, at_once) as windows:
            yield from windows
            place = windows.rest


@dataclass(slots=True)
class _Window:
    """A part of the range, and what was read of it: pages, and at their end None, or the error that ended them."""

    place: seek.Place
    pages: Queue[list[Record] | Exception | None] = field(default_factory=lambda: Queue(_PAGES_AHEAD))


class _OverError(Exception):
    """Nobody wants the rows any more."""


class _Windows:
    """Iterates over the records of windows that threads read; a context manager that ends the threads.

    Attributes:
        rest: What no window covers: None in the end, unless there were to be no more windows.
    """

    def __init__(self, fetch: seek.Fetch, place: seek.Place, at_once: Callable[[], int]) -> None:
        self.rest: seek.Place | None = place
        self._fetch = fetch
        self._at_once = at_once
        self._cutting = threading.Lock()
        self._free = threading.Semaphore(at_once())
        self._cut: Queue[_Window | None] = Queue()
        self._sizes = iter(_SIZES)
        self._pages = next(self._sizes)
        self._has_failed = self._is_over = False
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(at_once())]

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
        self._free.release(len(self._threads))
        for thread in self._threads:
            thread.join(_PATIENCE / len(self._threads))

    def __iter__(self) -> Iterator[Record]:
        while window := self._cut.get():
            while page := window.pages.get():
                if isinstance(page, Exception):
                    raise page
                yield from page
            self._free.release()

    # In the threads

    def _work(self) -> None:
        while window := self._next():
            try:
                records = chain.from_iterable(seek.steps(self._ask, window.place))
                while page := list(islice(records, seek.PAGE_SIZE)):
                    self._put(window, page)
                self._put(window, None)
            except Exception as error:  # noqa: BLE001 - Raised where the records are yielded.
                self._has_failed = True
                self._put(window, error)

    def _next(self) -> _Window | None:
        """Return the next window in time, or None where there is none, which ends the iteration, too."""
        with self._cutting:
            self._free.acquire()
            if not self.rest or self._at_once() == 1 or self._is_over or self._has_failed:
                self._cut.put(None)
                return None
            window, self.rest = _Window(self.rest), None
            self._cut.put(window)
            try:
                self._shorten(window.place)
            except Exception as error:  # noqa: BLE001 - The same.
                self._has_failed = True
                self._put(window, error)
                return None
            return window

    def _shorten(self, place: seek.Place) -> None:
        """Leave to a place some pages, and the rest to the next window."""
        query = place.query
        clock, span = query.order_by, query.span(query.order_by)
        at = seek.look_ahead(self._ask, query, self._pages)
        while at is None and self._pages >= 2 * _LEAST:
            self._pages //= 2
            at = seek.look_ahead(self._ask, query, self._pages)
        self._pages = next(self._sizes, self._pages)
        if at is not None and at < span.lt:
            place.query = query.within(clock, seek.Span(span.gte, at))
            self.rest = seek.Place(query.within(clock, seek.Span(at, span.lt)))

    def _ask(self, query: seek.Query) -> list[Record]:
        if self._is_over:
            raise _OverError
        return self._fetch(query)

    def _put(self, window: _Window, page: list[Record] | Exception | None) -> None:
        while not self._is_over:
            with suppress(Full):
                window.pages.put(page, timeout=_PATIENCE)
                return
