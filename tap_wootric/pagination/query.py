"""One request for a page of a list, and the page that answers it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

from tap_wootric.records.timestamps import SECOND_LENGTH, timestamp_of_second, unix_seconds
from tap_wootric.records.transform import Record

PAGE_SIZE = 50
"""The most rows that the API puts on one page (documented)."""

LAST_PAGE = 30
"""The highest page number that the API answers (documented)."""

SortKey = Literal["updated_at", "created_at"]

OTHER_KEY: dict[SortKey, SortKey] = {"updated_at": "created_at", "created_at": "updated_at"}
BEGINNING_OF_TIME = unix_seconds("0001-01-01T00:00:00Z")
"""The beginning of a range that has none."""

END_OF_TIME = unix_seconds("9999-12-31T23:59:59Z")
"""The end of a range that has none."""


@dataclass(frozen=True, slots=True)
class TimeRange:
    """Whole seconds from `gte` to before `lt`, as Unix seconds.

    Half-open ranges on whole seconds mean the same whether the API stores fractions of a second or not; every
    other comparison does not (a row shown as 10:00:05 may be 10:00:05.7).
    """

    gte: int = BEGINNING_OF_TIME
    lt: int = END_OF_TIME

    @classmethod
    def of_second(cls, second: int) -> TimeRange:
        """Return the span of one second."""
        return cls(second, second + 1)

    def __contains__(self, second: int) -> bool:
        return self.gte <= second < self.lt

    def __len__(self) -> int:
        return max(0, self.lt - self.gte)


@dataclass(frozen=True, slots=True)
class Query:
    """One request for a page of a list."""

    order_by: SortKey
    updated_at: TimeRange = field(default_factory=TimeRange)
    created_at: TimeRange = field(default_factory=TimeRange)
    descending: bool = False
    page: int = 1
    size: int = PAGE_SIZE
    """The most rows that the page is to have."""
    single_sort_key: bool = False
    """Whether the API sorts and filters by the key of `order_by` alone."""

    def range_of(self, key: SortKey) -> TimeRange:
        """Return the range that the rows have to be in on a key."""
        return self.updated_at if key == "updated_at" else self.created_at

    def with_range(self, key: SortKey, span: TimeRange) -> Query:
        """Return the same query with another range on a key."""
        return replace(self, updated_at=span) if key == "updated_at" else replace(self, created_at=span)


Fetch = Callable[[Query], list[Record]]
"""Returns the page that answers a query: records with an `id`, and with both timestamps normalized.
A timestamp may be missing; such a row belongs where the API put it."""


class PaginationError(Exception):
    """Going on would lose rows."""


class WrongAnswerError(PaginationError):
    """A page does not answer its query: it is out of order or out of range."""


class UnprovenSecondError(PaginationError):
    """The rows of one second could not be shown to be complete."""


@dataclass(frozen=True, slots=True)
class Page:
    """Records in the order of a key, and the second of each; a time in the form of `rows.timestamp_of_second`."""

    records: list[Record]
    seconds: list[str]

    def ids_of_last_second(self) -> set[int]:
        """Return the ids of the rows in the second of the last one."""
        last = self.seconds[-1]
        return {record["id"] for record, second in zip(self.records, self.seconds, strict=True) if second == last}


def fetch_page(fetch: Fetch, query: Query) -> Page:
    """Fetch a page, and see to it that it answers the query."""
    records = fetch(query)
    for key in OTHER_KEY:
        span = query.range_of(key)
        if span == TimeRange():
            continue
        first, behind = timestamp_of_second(span.gte), timestamp_of_second(span.lt)
        stamps = [stamp[:SECOND_LENGTH] for record in records if (stamp := record.get(key))]
        if not all(first <= stamp < behind for stamp in stamps):
            raise WrongAnswerError(f"rows came from outside the range of {key} that was asked for")
    seconds = _seconds(records, query)
    if seconds != sorted(seconds, reverse=query.descending):
        raise WrongAnswerError(f"rows that were to be sorted by {query.order_by} came in another order")
    return Page(records, seconds)


def _seconds(records: list[Record], query: Query) -> list[str]:
    """Return the records' seconds on the query's key; one without a stamp takes that of the row before it."""
    stamps = [record.get(query.order_by) for record in records]
    if len(records) >= PAGE_SIZE and not any(stamps):
        raise WrongAnswerError(f"rows came without {query.order_by}")
    second = timestamp_of_second(query.range_of(query.order_by).gte)
    return [second := stamp[:SECOND_LENGTH] if stamp else second for stamp in stamps]
