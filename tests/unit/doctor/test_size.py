from __future__ import annotations

import math
import random
from bisect import bisect_left
from collections.abc import Callable, Sequence

import pytest

from tap_wootric.doctor.size import SizeSurvey

YEAR = 365 * 86_400
Make = Callable[[random.Random], list[int]]


class List:
    """The times of a list's rows, in pages of 50."""

    def __init__(self, times: Sequence[int]) -> None:
        self.times = sorted(times)
        self.requests = 0

    def fetch(self, start: int | None, end: int | None, number: int, descending: bool) -> list[int]:  # noqa: FBT001
        self.requests += 1
        first = 0 if start is None else bisect_left(self.times, start)
        last = len(self.times) if end is None else bisect_left(self.times, end)
        times = self.times[first:last]
        return (times[::-1] if descending else times)[50 * number - 50 : 50 * number]

    def survey(self, refinements: int = 8, begin: int | None = None) -> SizeSurvey:
        first = self.times[0] if begin is None else begin
        survey = SizeSurvey(self.fetch, 50, first, self.times[-50:], is_whole=begin is None)
        survey.measure()
        most = self.requests + refinements
        while survey.doubt and self.requests < most:
            survey.refine()
        return survey


def evenly(count: int, seconds: int = 2 * YEAR) -> Make:
    return lambda rng: [rng.randrange(seconds) for _ in range(count)]


def growing(rng: random.Random) -> list[int]:
    return [int(3 * YEAR * math.log1p(rng.random() * math.expm1(4)) / 4) for _ in range(50_000)]


def in_office_hours(rng: random.Random) -> list[int]:
    return [86_400 * rng.randrange(700) + 36_000 + rng.randrange(28_000) for _ in range(33_000)]


def with_an_import_at_the_end(rng: random.Random) -> list[int]:
    return [*evenly(1_499)(rng), *[3 * YEAR] * 60]


def in_bursts(rng: random.Random) -> list[int]:
    return [second for _ in range(400) for second in [rng.randrange(2 * YEAR)] * 80]


@pytest.mark.parametrize(
    "make",
    [
        evenly(1_500),
        evenly(1_600),
        evenly(3_000),
        evenly(4_000),
        evenly(33_000),
        evenly(100_000),
        growing,
        in_office_hours,
        with_an_import_at_the_end,
        in_bursts,
    ],
)
def test_a_long_list_is_estimated_within_a_third(make: Make) -> None:
    times = make(random.Random(1))
    listed = List(times)
    assert listed.survey().rows == pytest.approx(len(times), rel=0.34)
    assert listed.requests <= 16


@pytest.mark.parametrize("count", [1, 49, 50, 51, 99, 100, 101, 700, 1_450, 1_499])
def test_a_short_list_is_counted(count: int) -> None:
    listed = List(evenly(count)(random.Random(1)))
    survey = listed.survey()
    assert survey.rows == pytest.approx(count, rel=0.1, abs=0)
    assert survey.is_short
    assert survey.doubt == 0
    assert listed.requests <= 6


def test_the_rows_from_a_second_on_are_estimated() -> None:
    listed = List(range(0, 100_000 * 60, 60))
    assert listed.survey(begin=60_000 * 60).rows == pytest.approx(40_000, rel=0.05)
    assert listed.survey(begin=99_900 * 60).rows == 100


def test_thousands_of_rows_in_one_second_are_survived() -> None:
    assert List([5] * 5_000).survey().rows >= 1_500
    assert List([*range(4_000), *[4_000] * 5_000, *range(4_001, 8_000)]).survey().rows >= 4_500


def test_an_import_that_only_begins_does_not_inflate_the_estimate() -> None:
    times = [*evenly(10_000)(random.Random(1)), *[YEAR] * 20_000]
    for refinements in range(10):
        assert List(times).survey(refinements).rows < 45_000


def test_rows_that_leave_meanwhile_are_survived() -> None:
    listed = List(range(2_000))
    survey = SizeSurvey(
        lambda start, end, number, descending: [] if descending else listed.fetch(start, end, number, descending),
        50,
        0,
        [],
    )
    survey.measure()
    assert survey.rows == 1_500
