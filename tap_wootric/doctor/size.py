"""About how many rows a list has, although the API counts none. Pure.

The last page that the API answers tells in which second 1,500 rows have passed since any other second. So each request
measures the density of the rows somewhere. Short lists are counted instead.
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tap_wootric.pagination.query import LAST_PAGE

FetchTimes = Callable[[int | None, int | None, int, bool], Sequence[int]]
"""Returns the Unix seconds of the rows of a page. The arguments are the range of seconds, from the first up to but not
including the second, with None for its own beginning or end; the page's number; and whether the order is descending."""

_ASCENDING, _DESCENDING = False, True

_GOOD_SHARE = 0.05
"""A gap with less than this share of the rows is not worth a request."""

_MIN_DOUBT = 1
"""How far off the estimate of a gap may be although the densities before and behind it are equal: an import may hide
there."""

_ABRUPT = math.log(20)
"""Densities that differ by more than this factor do not change gradually."""

_BURST = 10
"""A last page that is so many times as dense as the pages before it may be the beginning of an import."""


@dataclass(frozen=True, slots=True, order=True)
class _Segment:
    """Seconds, from `start` up to but not including `end`, that are known to hold some rows."""

    start: int
    end: int
    rows: float
    ends_in_burst: bool = field(default=False, compare=False)

    @property
    def density(self) -> float:
        """Rows per second."""
        return self.rows / (self.end - self.start)


@dataclass(frozen=True, slots=True)
class _Gap:
    """The seconds between two segments."""

    before: _Segment
    after: _Segment

    @property
    def _ratio(self) -> float:
        return math.log(self.after.density / self.before.density)

    @property
    def seconds(self) -> int:
        return self.after.start - self.before.end

    @property
    def rows(self) -> float:
        """The rows in it, if the density changes by the same factor each second.

        Where an import seems to begin or to end, it goes on for as many rows as are known of it.
        """
        ratio = self._ratio
        if abs(ratio) > _ABRUPT:
            sparse, dense = sorted((self.before, self.after), key=lambda segment: segment.density)
            return sparse.density * self.seconds + dense.rows
        return self.before.density * self.seconds * (math.expm1(ratio) / ratio if ratio else 1)

    @property
    def doubt(self) -> float:
        """About how many rows the estimate may be off."""
        return self.rows * (_MIN_DOUBT + abs(self._ratio))

    @property
    def middle(self) -> int:
        """The second before which half of the rows are; the first second if an import may begin there."""
        if self.before.ends_in_burst:
            return self.before.end
        ratio = self._ratio
        share = math.log1p(math.expm1(ratio) / 2) / ratio if ratio else 0.5
        return self.before.end + min(int(share * self.seconds), self.seconds - 1)


class SizeSurvey:
    """Counts the rows of a list from a second on, or estimates them.

    Args:
        fetch: Returns the times of a page. Its errors are not caught.
        page_rows: The most rows on a page.
        begin: The second of the first row, or an earlier one that the rows begin at.
        newest: The seconds of the last rows, at most a page of them.
        is_whole: Whether there are no rows before `begin`.

    Attributes:
        is_short: Whether all rows are on the pages that the API answers.
        is_exact: Whether the rows were counted to the last one.
    """

    def __init__(
        self, fetch: FetchTimes, page_rows: int, begin: int, newest: Sequence[int], *, is_whole: bool = True
    ) -> None:
        self.is_short = self.is_exact = False
        self._fetch = fetch
        self._page_rows = page_rows
        self._begin = begin
        self._newest = newest
        self._start = None if is_whole else begin
        self._segments: list[_Segment] = []
        self._counted = 0.0

    def measure(self) -> None:
        """Count the rows if they are on the pages that the API answers; else measure both ends of the list."""
        first = self._fetch(self._start, None, LAST_PAGE, _ASCENDING)
        if len(first) < self._page_rows:
            self.is_short = True
            self._counted, self.is_exact = self._count(self._start, None, LAST_PAGE, len(first))
            return
        last = self._fetch(self._start, None, LAST_PAGE, _DESCENDING)
        if not last:  # Rows have left meanwhile.
            self._counted = self._view_rows
            return
        tail = _Segment(min(last), max(*last, *self._newest) + 1, self._view_rows)
        begin, end = min(self._begin, *first), max(first)
        if end <= begin or end < tail.start:
            end = max(end, begin + 1)
            self._segments = [_Segment(begin, end, self._view_rows, self._is_burst(first, begin, end)), tail]
        else:
            self._segments = [tail]
            self._add_counted(begin, tail.start)

    def refine(self) -> None:
        """Measure the density where it is most in doubt. It takes one request, or several to count the last rows."""
        if not (gap := self._widest_doubt()):
            return
        start, limit = gap.middle, gap.after.start
        if gap.rows < self._view_rows:
            self._add_counted(gap.before.end, limit)
            return
        page = self._fetch(start, limit, LAST_PAGE, _ASCENDING)
        if len(page) < self._page_rows:
            self._add_counted(start, limit, len(page))
        else:
            end = max(*page, start + 1)
            insort(self._segments, _Segment(start, end, self._view_rows, self._is_burst(page, start, end)))

    @property
    def doubt(self) -> float:
        """About how many rows the estimate may be off in the worst gap; 0 if it is not worth a request."""
        gap = self._widest_doubt()
        return gap.doubt if gap else 0.0

    @property
    def rows(self) -> float:
        """The number of rows."""
        return self._counted + sum(segment.rows for segment in self._segments) + sum(gap.rows for gap in self._gaps)

    @property
    def _view_rows(self) -> int:
        return LAST_PAGE * self._page_rows

    @property
    def _gaps(self) -> list[_Gap]:
        pairs = zip(self._segments, self._segments[1:], strict=False)
        return [gap for gap in (_Gap(*pair) for pair in pairs) if gap.seconds > 0]

    def _widest_doubt(self) -> _Gap | None:
        worth_it = [gap for gap in self._gaps if gap.doubt > _GOOD_SHARE * self.rows]
        return max(worth_it, key=lambda gap: gap.doubt, default=None)

    def _is_burst(self, last_page: Sequence[int], start: int, end: int) -> bool:
        """Return whether the last page of a view is so dense that an import may begin there."""
        return self._page_rows / max(1, end - min(last_page)) > _BURST * self._view_rows / (end - start)

    def _add_counted(self, start: int, end: int, rows_on_last: int | None = None) -> None:
        """Count the rows of a range that has fewer than a view shows."""
        if rows_on_last is None:
            rows_on_last = len(self._fetch(start, end, LAST_PAGE, _ASCENDING))
        rows, _ = self._count(start, end, LAST_PAGE, rows_on_last)
        insort(self._segments, _Segment(start, end, max(1, rows)))

    def _count(self, start: int | None, end: int | None, number: int, rows: int) -> tuple[int, bool]:
        """Return how many rows a range has, and whether that is exact, given how many are on one of its pages."""
        full, empty = 0, LAST_PAGE + 1
        while True:
            if 0 < rows < self._page_rows:
                return (number - 1) * self._page_rows + rows, True
            full, empty = (number, empty) if rows else (full, number)
            if empty - full <= max(1.0, _GOOD_SHARE * (self.rows / self._page_rows + full)):
                return (full + empty - 1) * self._page_rows // 2, empty - full == 1
            number = (full + empty) // 2
            rows = len(self._fetch(start, end, number, _ASCENDING))
