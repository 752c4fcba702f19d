"""Forecasts how many rows of a list are left, from a few pages far ahead of the reading. Pure.

The API gives no total. But page 30, the last one that it answers, starts 1,450 rows into a range. So one request tells
how dense the list is there: 1,450 rows in so many seconds. Between two such samples, the density is assumed to be their
geometric mean, which fits steady and exponential growth. Each further sample splits the gap that may hold the most
rows, so samples gather where the density changes, such as at the edge of a bulk import. A range of fewer rows is
counted.

A bulk import that lies between two samples is missed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

from tap_wootric.pagination.query import LAST_PAGE, PAGE_SIZE, FetchPage, Query, TimeRange, fetch_page
from tap_wootric.records.timestamps import unix_seconds

RowsAfter = Callable[[int], float]
"""Returns about how many rows come after a Unix second."""

_MAX_SAMPLES = 24
"""With fewer, the estimate for a list of which 90% is one import is off by more than a factor of two (simulated)."""

_PAGES_PER_SAMPLE = 50
"""A forecast adds about 2% to the requests that reading takes. The first two samples are always taken."""

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


def _rows_after(spans: Sequence[_Span], second: int) -> float:
    return sum(span.density * max(0, span.end - max(span.start, second)) for span in spans)


def forecast(fetch: FetchPage, query: Query, page_rows: int = PAGE_SIZE, max_samples: int = _MAX_SAMPLES) -> RowsAfter:
    """Return an estimate for a query's range. A range that ends before page 30 is counted.

    Args:
        fetch: Returns a page.
        query: Sorted by a time, in ascending order. Its range of that time has an end.
        page_rows: The most rows that the API puts on a page.
        max_samples: A sample takes one request; five more if the rows up to the next sample can be counted.

    Raises:
        WrongAnswerError: The API does not filter or sort as it was asked to.
    """
    time_range = query.range_of(query.time_key)

    def sample(gte: int, lt: int, *, descending: bool = False) -> _Span:
        part = query.with_range(query.time_key, TimeRange(gte, lt))
        return _sample(fetch, replace(part, descending=descending), page_rows)

    samples = [sample(time_range.gte, time_range.lt)]
    if samples[0].end >= time_range.lt:
        return partial(_rows_after, samples)
    samples.append(sample(samples[0].end, time_range.lt, descending=True))
    while True:
        gaps = [*pairwise(samples)]
        most_rows = [max(a.density, b.density) * (b.start - a.end) for a, b in gaps]
        rows = sum(most_rows) + sum(sample.rows for sample in samples)
        if len(samples) >= min(max_samples, rows / page_rows / _PAGES_PER_SAMPLE):
            break
        index = most_rows.index(max(most_rows))
        before, after = gaps[index]
        seconds = after.start - before.end
        if before.density > _IMPORT_RATIO * after.density:  # On a logarithmic scale, fewer samples find where it ends.
            middle = before.end + math.isqrt(seconds * (before.end - before.start))
        else:
            middle = before.end + seconds // 2
        if not before.end < middle < after.start:
            break
        samples.insert(index + 1, sample(middle, after.start))
    between = [_Span(a.end, b.start, math.sqrt(a.density * b.density) * (b.start - a.end)) for a, b in gaps]
    return partial(_rows_after, [*samples, *between])


def _sample(fetch: FetchPage, query: Query, page_rows: int) -> _Span:
    """Return the span of a query's rows up to page 30; if there are fewer, its whole range with their exact number."""
    time_range = query.range_of(query.time_key)
    page = fetch_page(fetch, replace(query, page=LAST_PAGE))
    rows, full, empty = len(page.records), 0, LAST_PAGE + 1
    if rows >= page_rows:
        second, rows = unix_seconds(page.seconds[0]), (LAST_PAGE - 1) * page_rows
        if query.descending:
            return _Span(min(second, time_range.lt - 1), time_range.lt, rows)
        return _Span(time_range.gte, max(second, time_range.gte + 1), rows)
    number = LAST_PAGE
    while not 0 < rows < page_rows and empty - full > 1:
        number = (full + empty) // 2
        rows = len(fetch_page(fetch, replace(query, page=number)).records)
        full, empty = (number, empty) if rows else (full, number)
    return _Span(time_range.gte, time_range.lt, (number - 1) * page_rows + rows if rows else full * page_rows)
