"""Forecasts how many rows of a list are left, from a few pages far ahead of the reading. Pure.

The API tells no total. But page 30, the last one that it answers, starts 1,450 rows into a range. So one request tells
how dense the list is there: 1,450 rows in so many seconds. Between two such samples, the density is assumed to be their
geometric mean, which fits steady and exponential growth. Each further sample splits the gap that may hold the most
rows, so samples gather where the density changes, such as at the edge of a bulk import.

A bulk import that lies between two samples is not seen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from tap_wootric.pagination.query import LAST_PAGE, PAGE_SIZE, FetchPage, Query, TimeRange, fetch_page
from tap_wootric.records.timestamps import unix_seconds

_SAMPLE_ROWS = (LAST_PAGE - 1) * PAGE_SIZE
"""Rows before the last page that the API answers."""

_MAX_SAMPLES = 24
"""With fewer, the estimate for a list of which 90% is one import is off by more than a factor of two (simulated)."""

_PAGES_PER_SAMPLE = 50
"""A forecast adds 2% to the requests that reading takes. The first two samples are always taken."""

_IMPORT_RATIO = 30
"""A sample that is more than this many times as dense as the next one is part of a bulk import."""


@dataclass(frozen=True, slots=True)
class _Span:
    """A number of rows, spread evenly from one Unix second up to but not including another."""

    start: int
    end: int
    rows: float

    @property
    def density(self) -> float:
        """Rows a second."""
        return self.rows / max(1, self.end - self.start)


class Forecast:
    """An estimate of how the rows of a list are spread over time."""

    def __init__(self, spans: Sequence[_Span]) -> None:
        self._spans = spans

    def rows_after(self, second: int) -> float:
        """Return about how many rows come after a Unix second."""
        return sum(span.density * max(0, span.end - max(span.start, second)) for span in self._spans)


def forecast(fetch: FetchPage, query: Query) -> Forecast:
    """Return an estimate for a query's range.

    Args:
        fetch: Returns a page. It is called at most 24 times.
        query: Sorted by a time, in ascending order. Its range of that time has an end.

    Raises:
        WrongAnswerError: The API does not filter or sort as it was asked to.
    """
    time_range = query.range_of(query.time_key)
    samples = [_sample(fetch, query, time_range)]
    if samples[0].end >= time_range.lt:
        return Forecast(samples)
    samples.append(_sample(fetch, replace(query, descending=True), TimeRange(samples[0].end, time_range.lt)))
    while True:
        gaps = [*pairwise(samples)]
        most_rows = [max(a.density, b.density) * (b.start - a.end) for a, b in gaps]
        rows = sum(most_rows) + sum(sample.rows for sample in samples)
        if len(samples) >= min(_MAX_SAMPLES, rows / PAGE_SIZE / _PAGES_PER_SAMPLE):
            break
        index = most_rows.index(max(most_rows))
        before, after = gaps[index]
        middle = _middle(before, after)
        if not before.end < middle < after.start:
            break
        density = min(before.density, after.density)
        samples.insert(index + 1, _sample(fetch, query, TimeRange(middle, after.start), density))
    between = [_Span(a.end, b.start, math.sqrt(a.density * b.density) * (b.start - a.end)) for a, b in gaps]
    return Forecast([*samples, *between])


def _middle(before: _Span, after: _Span) -> int:
    """Return the second between two samples at which to take another one.

    Next to a bulk import, that is the geometric mean of the length of the import's sample and that of the gap: on such
    a scale, fewer samples find the edge of the import.
    """
    seconds = after.start - before.end
    if before.density > _IMPORT_RATIO * after.density:
        return before.end + math.isqrt(seconds * (before.end - before.start))
    if after.density > _IMPORT_RATIO * before.density:
        return after.start - math.isqrt(seconds * (after.end - after.start))
    return before.end + seconds // 2


def _sample(fetch: FetchPage, query: Query, time_range: TimeRange, density: float = math.inf) -> _Span:
    """Return where the first 1,450 rows of a range are; the last 1,450 if the query is descending.

    If there are fewer, return the whole range, as if it had half as many rows, or as many as fit `density` (rows a
    second), whichever is fewer.
    """
    page = fetch_page(fetch, replace(query.with_range(query.time_key, time_range), page=LAST_PAGE))
    if not page.records:
        return _Span(time_range.gte, time_range.lt, min(_SAMPLE_ROWS / 2, density * len(time_range)))
    second = unix_seconds(page.seconds[0])
    if query.descending:
        return _Span(min(second, time_range.lt - 1), time_range.lt, _SAMPLE_ROWS)
    return _Span(time_range.gte, max(second, time_range.gte + 1), _SAMPLE_ROWS)
