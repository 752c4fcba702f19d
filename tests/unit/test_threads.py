"""Items are processed in parallel, and their results come in order. Events replace time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import islice

import pytest

from tap_wootric.threads import flat_map_in_order


def test_results_come_in_the_order_of_the_items_even_if_a_later_item_is_done_first() -> None:
    second_is_done = threading.Event()

    def function(item: int) -> Iterator[int]:
        if item == 1:
            assert second_is_done.wait(30)
        yield from (item * 10, item * 10 + 1)
        if item == 2:
            second_is_done.set()

    assert list(flat_map_in_order(function, [1, 2, 3], threads=2, max_started=2)) == [10, 11, 20, 21, 30, 31]


def test_as_many_items_are_processed_in_parallel_as_there_are_threads() -> None:
    barrier = threading.Barrier(4)

    def function(item: int) -> list[int]:
        barrier.wait(30)
        return [item]

    assert list(flat_map_in_order(function, range(8), threads=4, max_started=8)) == list(range(8))


def test_an_item_is_started_once_enough_results_have_been_yielded() -> None:
    is_started = [threading.Event(), threading.Event()]

    def function(item: int) -> range:
        is_started[item].set()
        return range(200)

    def may_start(yielded_items: int, yielded_results: int) -> bool:
        return yielded_items > 0 or yielded_results >= 100

    results = flat_map_in_order(function, range(2), threads=2, max_started=2, may_start=may_start)
    next(islice(results, 99, None))
    assert not is_started[1].wait(0.05)
    next(results)  # Whoever asks for the next result has used the hundred before it.
    assert is_started[1].wait(30)
    assert len(list(results)) == 400 - 101


def test_an_item_is_started_without_asking_if_none_is_in_progress() -> None:
    results = flat_map_in_order(lambda item: [item], range(9), threads=4, max_started=4, may_start=lambda *_: False)
    assert list(results) == list(range(9))


def test_an_error_of_the_question_whether_to_start_an_item_is_raised() -> None:
    is_asked = threading.Event()

    def function(item: int) -> list[int]:
        assert is_asked.wait(30)
        return [item]

    def may_start(_yielded_items: int, _yielded_results: int) -> bool:
        is_asked.set()
        raise ConnectionError("broken")

    results = flat_map_in_order(function, range(9), threads=2, max_started=2, may_start=may_start)
    assert next(results) == 0
    with pytest.raises(ConnectionError, match="broken"):
        next(results)


def test_no_items_have_no_results() -> None:
    assert list(flat_map_in_order(lambda item: [item], list[int](), threads=4, max_started=1)) == []


def test_an_error_of_an_item_is_raised_after_all_results_before_it() -> None:
    def function(item: int) -> Iterator[int]:
        yield item * 10
        if item == 3:
            raise ConnectionError("broken")

    results = flat_map_in_order(function, range(100), threads=4, max_started=4)
    assert [next(results) for _ in range(4)] == [0, 10, 20, 30]
    with pytest.raises(ConnectionError, match="broken"):
        next(results)


def test_after_an_error_no_item_is_started() -> None:
    started = list[int]()

    def function(item: int) -> list[int]:
        started.append(item)
        raise ConnectionError("broken")

    with pytest.raises(ConnectionError, match="broken"):
        list(flat_map_in_order(function, range(100), threads=1, max_started=100))
    assert started == [0]


def test_an_error_while_an_item_is_taken_is_raised_in_its_turn() -> None:
    def items() -> Iterator[int]:
        yield from (1, 2)
        raise ConnectionError("broken")

    results = flat_map_in_order(lambda item: [item], items(), threads=4, max_started=4)
    assert [next(results) for _ in range(2)] == [1, 2]
    with pytest.raises(ConnectionError, match="broken"):
        next(results)


def test_a_thread_far_ahead_waits_so_that_memory_is_bounded() -> None:
    is_far_ahead = threading.Event()
    produced = 0
    consumed = 0
    most_waiting = 0

    def function(_item: int) -> Iterator[int]:
        nonlocal produced, most_waiting
        for number in range(10_000):
            produced += 1
            most_waiting = max(most_waiting, produced - consumed)
            if produced == 60 * 50:
                is_far_ahead.set()
            yield number

    for _ in flat_map_in_order(function, [1], threads=1, max_started=1):
        assert is_far_ahead.wait(30)
        consumed += 1
    assert consumed == 10_000
    assert most_waiting <= (60 + 2) * 50


def test_a_signal_abandons_the_threads_because_it_may_have_interrupted_the_use_of_a_lock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    results = flat_map_in_order(lambda item: [item], [1, 2], threads=1, max_started=2)
    assert next(results) == 1
    monkeypatch.setattr(threading.Thread, "join", lambda *_: pytest.fail("a thread was waited for"))
    monkeypatch.setattr(threading.Semaphore, "release", lambda *_: pytest.fail("a semaphore was used"))
    with pytest.raises(SystemExit):
        results.throw(SystemExit(143))  # type: ignore[attr-defined]
