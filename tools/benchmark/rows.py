"""The rows of the benchmark, and a fast clock for the sandbox that serves them."""

from __future__ import annotations

import time

from typing_extensions import override

from tools.sandbox import Account
from tools.sandbox.account import SECOND, Row, Selection, Table
from tools.sandbox.server import Clock

YEAR = 365 * 86_400
"""Seconds."""


class EvenTable(Table):
    """Rows that were created at even intervals. They are not stored but made for each page, so there can be millions.

    Args:
        stream: The stream to which they belong.
        count: The number of rows.
        begin: When the first one was created, in Unix seconds.
        apart: Seconds from one to the next.

    Attributes:
        count: The number of rows, which may grow.
    """

    def __init__(self, stream: str, count: int, begin: float, apart: float) -> None:
        account = Account(**{stream: 1})
        super().__init__(lambda _rng, _number: ({}, {}), account.rng)
        self.count = count
        self._body = account.tables[stream].rows[1].body
        self._begin = int(begin * SECOND)
        self._apart = int(apart * SECOND)

    @override
    def page(self, selection: Selection) -> list[Row]:
        first, last = 0, self.count
        for filter_ in selection.filters:
            if filter_.operator in {"gt", "gte"}:
                first = max(first, self._index(filter_.bound + (filter_.operator == "gt")))
            else:
                last = min(last, self._index(filter_.bound + (filter_.operator == "lte")))
        numbers = range(first, last)[:: -1 if selection.descending else 1]
        stamped = [
            (number, self._begin + number * self._apart)
            for number in numbers[selection.offset : selection.offset + selection.limit]
        ]
        return [Row(number + 1, created, created, self._body, {}) for number, created in stamped]

    def _index(self, bound: int) -> int:
        """Return the number of the first row that was not created before a time."""
        return max(0, -((self._begin - bound) // self._apart))


class FastClock(Clock):
    """A clock that starts at the present, and runs faster than time."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self._factor = factor
        self._start = time.time()

    @override
    def __call__(self) -> float:
        return self._start + (time.time() - self._start) * self._factor
