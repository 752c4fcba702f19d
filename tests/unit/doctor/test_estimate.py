from __future__ import annotations

import pytest

from tap_wootric.doctor.estimate import ListFacts, sync_cost, window_seconds


def test_a_list_without_rows_takes_one_request_and_the_token() -> None:
    assert sync_cost([ListFacts(0, 0.2)], concurrency=4).requests == 2


def test_a_list_is_read_page_by_page_without_concurrency() -> None:
    cost = sync_cost([ListFacts(49_000, 0.2)], concurrency=1)
    assert cost.requests == 1_001
    assert cost.seconds == pytest.approx(205, rel=0.05)


def test_parallel_reading_takes_more_requests_and_less_time() -> None:
    """The figures are of a sync with the sandbox at 200 ms."""
    lists = [ListFacts(rows, 0.209) for rows in (40_000, 50_000, 10_000)]
    cost = sync_cost(lists, concurrency=4)
    assert cost.requests == pytest.approx(2_158, rel=0.05)
    assert cost.seconds == pytest.approx(126, rel=0.15)


def test_a_limit_takes_a_window_for_each_hundred_requests() -> None:
    cost = sync_cost([ListFacts(100_000, 0.2, limit=100)], concurrency=4)
    assert cost.requests == 2_042
    assert cost.seconds == pytest.approx(20 * 60, rel=0.05)


def test_a_limit_that_slow_responses_never_reach_costs_nothing() -> None:
    cost = sync_cost([ListFacts(49_000, 1.2, limit=100)], concurrency=4)
    assert cost.seconds == pytest.approx(1_200, rel=0.05)


def test_the_window_is_the_time_between_two_resets() -> None:
    assert window_seconds([(100, 120), (110, 120), (121, 130), (131, 140)]) == 10


def test_a_window_that_moves_along_ends_as_far_ahead_as_it_is_long() -> None:
    assert window_seconds([(100, 130), (101, 131), (110, 140)]) == 30


@pytest.mark.parametrize("resets", [[], [(100, 120)], [(100, 120), (110, 120)]])
def test_one_reset_does_not_tell_the_window(resets: list[tuple[int, int]]) -> None:
    assert window_seconds(resets) is None


def test_a_reset_far_ahead_tells_that_the_window_is_long() -> None:
    assert window_seconds([(100, 3_700), (110, 3_700)]) == 3_600
