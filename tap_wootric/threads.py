"""Runs a function on many items in several threads, and yields what it returns in the order of the items.

`concurrent.futures` is not used: the interpreter joins an executor's threads when it exits, and each may be blocked on
a request for minutes. These threads are daemons, so that they never delay the end of the process.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from queue import Full, Queue, SimpleQueue
from types import TracebackType
from typing import Generic, Self, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_BATCH_SIZE = 50
"""Results that a thread hands over at a time: 0.05 µs of CPU a result, instead of 1 µs one by one (measured)."""

_MAX_WAITING_BATCHES = 60
"""The most batches of one item that wait to be yielded, which bounds the memory. A thread that is further ahead waits.
Twice `LAST_PAGE`, so that only a partition with thousands of tied rows reaches it."""

_POLL_SECONDS = 0.2
"""How soon a thread that waits for room notices that its results are no longer wanted."""

_JOIN_SECONDS = 0.2
"""How long to wait for all threads at the end. Those blocked on a request are abandoned."""


MayStart = Callable[[int, int], bool]
"""Returns whether one more item may be started, given how many items have been yielded as a whole, and how many results
of the next one."""


def flat_map_in_order(
    function: Callable[[Item], Iterable[Result]],
    items: Iterable[Item],
    *,
    threads: int,
    max_started: int,
    may_start: MayStart = lambda _items, _results: True,
) -> Iterator[Result]:
    """Yield the results of all items, in the order of the items.

    An error, of the function or of `items`, is raised after all results before it. Once there is one, or the iterator
    is closed, no further item is started.

    Args:
        function: Returns the results of an item. Threads call and iterate it.
        items: Threads take them, one at a time and only when a thread is free. So taking an item may send a request.
        threads: How many items to process in parallel.
        max_started: The most items that are started before the results of the first of them have been yielded.
        may_start: Asked again whenever results have been yielded. Threads call it, one at a time. If no item is in
            progress, one is started without asking.
    """
    with _Pool(function, iter(items), threads, max_started, may_start) as pool:
        yield from pool.results()


@dataclass(frozen=True, slots=True)
class _Batch(Generic[Result]):
    """Some results."""

    results: Sequence[Result]


@dataclass(frozen=True, slots=True)
class _Failed:
    """An error, after which nothing follows."""

    error: BaseException


@dataclass(frozen=True, slots=True)
class _Finished:
    """The end: of one item's results, or of all items."""


@dataclass(frozen=True, slots=True)
class _Started(Generic[Item, Result]):
    """An item that a thread processes, and the queue that receives its results."""

    item: Item
    outcomes: Queue[_Batch[Result] | _Failed | _Finished]


class _Pool(Generic[Item, Result]):
    """The threads, and the queues by which they hand over results; a context manager that starts and ends them."""

    def __init__(
        self,
        function: Callable[[Item], Iterable[Result]],
        items: Iterator[Item],
        threads: int,
        max_started: int,
        may_start: MayStart,
    ) -> None:
        self._function = function
        self._items = items
        self._taking = threading.Lock()
        self._max_started = max_started
        self._may_start = may_start
        self._progress = threading.Condition()
        """Notified when results have been yielded, and when the pool is closed."""
        self._started_items = 0  # By the thread that holds `_taking`.
        self._yielded_items = 0
        self._yielded_results = 0  # Of the item after those.
        self._in_order: SimpleQueue[_Started[Item, Result] | _Failed | _Finished] = SimpleQueue()
        self._takes_items = True
        self._is_closed = False
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(threads)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Tell the threads to end, and wait a moment for them."""
        self._is_closed = True
        if isinstance(error, SystemExit):
            return  # A signal, which may have interrupted this thread while it held the lock of a queue or condition.
        with self._progress:
            self._progress.notify_all()
        for thread in self._threads:
            thread.join(_JOIN_SECONDS / len(self._threads))

    def results(self) -> Iterator[Result]:
        """Yield the results of all items in order."""
        while True:
            match self._in_order.get():
                case _Started(outcomes=outcomes):
                    for batch in _batches(outcomes):
                        yield from batch
                        self._add_yielded(results=len(batch))
                    self._add_yielded(items=1)
                case _Failed(error):
                    raise error
                case _Finished():
                    return

    def _add_yielded(self, *, items: int = 0, results: int = 0) -> None:
        with self._progress:
            self._yielded_items += items
            self._yielded_results = 0 if items else self._yielded_results + results
            self._progress.notify_all()

    # In the threads

    def _work(self) -> None:
        while (started := self._start_next()) is not None:
            self._process(started)

    def _start_next(self) -> _Started[Item, Result] | None:
        """Take the next item and queue it for `results`, or queue the end if there is no item or an error.

        After the end, no item is taken any more: nothing would read its results.
        """
        with self._taking:
            end: _Failed | _Finished = _Finished()
            try:
                with self._progress:
                    self._progress.wait_for(self._has_room)
                if self._takes_items and not self._is_closed:
                    started: _Started[Item, Result] = _Started(next(self._items), Queue(_MAX_WAITING_BATCHES))
                    self._started_items += 1
                    self._in_order.put(started)
                    return started
            except StopIteration:
                pass
            except BaseException as error:  # noqa: BLE001 - Raised where the results are yielded.
                end = _Failed(error)
            self._takes_items = False
            self._in_order.put(end)
            return None

    def _has_room(self) -> bool:
        """Return whether the next item may be started, or none will be any more."""
        in_progress = self._started_items - self._yielded_items
        return (
            self._is_closed
            or not self._takes_items
            or in_progress == 0
            or (in_progress < self._max_started and self._may_start(self._yielded_items, self._yielded_results))
        )

    def _process(self, started: _Started[Item, Result]) -> None:
        """Hand over the results of an item, and then how it ended."""
        end: _Failed | _Finished = _Finished()
        batch = list[Result]()
        try:
            for result in self._function(started.item):
                batch.append(result)
                if len(batch) == _BATCH_SIZE:
                    self._put(started, _Batch(batch))
                    batch = []
                if self._is_closed:
                    return
        except BaseException as error:  # noqa: BLE001 - Raised where the results are yielded.
            self._takes_items = False
            end = _Failed(error)
        if batch:
            self._put(started, _Batch(batch))
        self._put(started, end)

    def _put(self, started: _Started[Item, Result], outcome: _Batch[Result] | _Failed | _Finished) -> None:
        """Wait for room in the queue, unless the pool is closed."""
        while not self._is_closed:
            with suppress(Full):
                started.outcomes.put(outcome, timeout=_POLL_SECONDS)
                return


def _batches(outcomes: Queue[_Batch[Result] | _Failed | _Finished]) -> Iterator[Sequence[Result]]:
    """Yield the results of one item in batches."""
    while True:
        match outcomes.get():
            case _Batch(results):
                yield results
            case _Failed(error):
                raise error
            case _Finished():
                return
