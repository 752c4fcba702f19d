from __future__ import annotations

import pytest

from tap_wootric.doctor.days import includes_last_day


class Account:
    """Days on which something happened."""

    def __init__(self, *days: int, inclusive: bool) -> None:
        self.days = days
        self.inclusive = inclusive
        self.requests = 0

    def is_active(self, first: int, last: int) -> bool:
        self.requests += 1
        return any(first <= day < last + self.inclusive for day in self.days)


@pytest.mark.parametrize("inclusive", [True, False])
@pytest.mark.parametrize("days", [(100,), (101,), (100, 101), (3, 100), (100, 700), (0,), (999,)])
@pytest.mark.parametrize("guesses", [[], [100], [5]])
def test_any_active_day_shows_it(days: tuple[int, ...], guesses: list[int], *, inclusive: bool) -> None:
    account = Account(*days, inclusive=inclusive)
    assert includes_last_day(account.is_active, guesses, -1, 1_001) is inclusive
    assert account.requests <= 16


@pytest.mark.parametrize("inclusive", [True, False])
def test_a_right_guess_takes_few_requests(*, inclusive: bool) -> None:
    account = Account(100, inclusive=inclusive)
    assert includes_last_day(account.is_active, [100], 0, 1_000) is inclusive
    assert account.requests <= 4


def test_activity_that_disappears_shows_nothing() -> None:
    answers = iter([True, False, False, False])
    assert includes_last_day(lambda _first, _last: next(answers), [100], 0, 1_000) is None


def test_a_range_that_is_halved_too_often_shows_nothing() -> None:
    assert includes_last_day(Account(1, inclusive=True).is_active, [], 0, 100_000) is None
