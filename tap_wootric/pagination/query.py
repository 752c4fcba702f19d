"""One request for a page of a list, and the page that answers it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, cast, get_args

from tap_wootric.records.timestamps import SECOND_LENGTH, timestamp_of_second, unix_seconds
from tap_wootric.records.transform import Record

PAGE_SIZE = 50
"""The most rows that the API puts on one page (documented)."""

LAST_PAGE = 30
"""The highest page number that the API answers (documented)."""

TimeKey = Literal["updated_at", "created_at"]
"""A timestamp that the API may filter by, in ranges of whole seconds, and sort by."""

SortKey = Literal["updated_at", "created_at", "email"]
"""What the API may sort by. Only end users can be sorted by anything but `created_at`."""

TIME_KEYS: tuple[TimeKey, ...] = get_args(TimeKey)

BEGINNING_OF_TIME = unix_seconds("0001-01-01T00:00:00Z")
"""The start of a range that has none, in Unix seconds."""

END_OF_TIME = unix_seconds("9999-12-31T23:59:59Z")
"""The end of a range that has none, in Unix seconds."""


@dataclass(frozen=True, slots=True)
class TimeRange:
    """Whole Unix seconds, from `gte` up to but not including `lt`.

    Half-open ranges of whole seconds mean the same whether or not the API stores fractions of a second. No other
    comparison does: a row shown as 10:00:05 may be 10:00:05.7.
    """

    gte: int = BEGINNING_OF_TIME
    lt: int = END_OF_TIME

    @classmethod
    def of_second(cls, second: int) -> TimeRange:
        """Return the range of a single Unix second."""
        return cls(second, second + 1)

    def __len__(self) -> int:
        return max(0, self.lt - self.gte)


@dataclass(frozen=True, slots=True)
class Query:
    """One request for a page of a list.

    Attributes:
        sort_key: What the rows are sorted by.
        updated_at: Only rows that were updated in this range are asked for.
        created_at: Only rows that were created in this range are asked for.
        descending: Whether the rows come in descending order.
        page: The page's number, from 1 to `LAST_PAGE`.
        size: The most rows on the page, from 1 to `PAGE_SIZE`.
        sort_keys: All keys that the API sorts this list by. It filters the list by those among them that are times.
    """

    sort_key: SortKey
    updated_at: TimeRange = TimeRange()
    created_at: TimeRange = TimeRange()
    descending: bool = False
    page: int = 1
    size: int = PAGE_SIZE
    sort_keys: tuple[SortKey, ...] = TIME_KEYS

    @property
    def time_key(self) -> TimeKey:
        """The sort key of a list that is sorted by a time."""
        return cast("TimeKey", self.sort_key)

    @property
    def other_time_key(self) -> TimeKey | None:
        """The time that the API also filters and sorts this list by, if there is one."""
        return next((key for key in TIME_KEYS if key in self.sort_keys and key != self.sort_key), None)

    def range_of(self, key: TimeKey) -> TimeRange:
        """Return the range that the rows' times are in."""
        return self.updated_at if key == "updated_at" else self.created_at

    def with_range(self, key: TimeKey, time_range: TimeRange) -> Query:
        """Return the same query with another range of times."""
        return replace(self, updated_at=time_range) if key == "updated_at" else replace(self, created_at=time_range)

    def starting_at(self, second: int) -> Query:
        """Return the same query for the rest of its sort key's range, from a Unix second on."""
        return self.with_range(self.time_key, TimeRange(second, self.range_of(self.time_key).lt))

    def select(self, records: list[Record]) -> list[Record]:
        """Return the records that are in the query's ranges; a time that is missing counts as in range."""
        for key in TIME_KEYS:
            records = in_range(records, key, self.range_of(key))
        return records


FetchPage = Callable[[Query], list[Record]]
"""Returns the page that answers a query: records with an `id`, and with normalized timestamps.

A timestamp may be missing; such a row belongs where the API put it.
"""


class WrongAnswerError(Exception):
    """A page does not answer its query: it is out of order or out of range. Going on would lose rows."""


@dataclass(frozen=True, slots=True)
class UnprovenSecond:
    """A second whose reachable rows were all read, but which could not be proven complete.

    Attributes:
        query: Its ranges are the second: of creation, of update, or of both.
        rows: How many rows were read.
        reason: Why there may be more.
    """

    query: Query
    rows: int
    reason: str

    def __str__(self) -> str:
        seconds = " and ".join(
            f"{key.removesuffix('_at')} at {timestamp_of_second(time_range.gte)}Z"
            for key in TIME_KEYS
            if len(time_range := self.query.range_of(key)) == 1
        )
        return f"{self.rows:,} rows {seconds} were read, and there may be more: {self.reason}"


@dataclass(frozen=True, slots=True)
class Page:
    """The records of a page in order, and the second of each on the query's sort key, such as `2016-12-16T17:05:13`."""

    records: list[Record]
    seconds: list[str]

    @property
    def is_of_one_second(self) -> bool:
        """Whether there are rows, all of the same second."""
        return bool(self.seconds) and self.seconds[0] == self.seconds[-1]

    @property
    def last_second(self) -> int:
        """The Unix second of the last row."""
        return unix_seconds(self.seconds[-1])

    def ids_of_last_second(self) -> set[int]:
        """Return the ids of the records that share the last one's second."""
        last = self.seconds[-1]
        return {record["id"] for record, second in zip(self.records, self.seconds, strict=True) if second == last}


def fetch_page(fetch: FetchPage, query: Query) -> Page:
    """Fetch a page that is sorted by a time.

    Raises:
        WrongAnswerError: The page does not answer the query.
    """
    key = query.time_key
    records = fetch_records(fetch, query)
    stamps = [record.get(key) for record in records]
    if len(records) > 1 and not any(stamps):  # Reading could not proceed.
        raise WrongAnswerError(f"a page of rows came without {key}")
    # A row without a timestamp takes the second of the row before it.
    second = timestamp_of_second(query.range_of(key).gte)
    seconds = [second := stamp[:SECOND_LENGTH] if stamp else second for stamp in stamps]
    if seconds != sorted(seconds, reverse=query.descending):
        raise WrongAnswerError(f"rows that were requested sorted by {key} came in another order")
    return Page(records, seconds)


def fetch_records(fetch: FetchPage, query: Query) -> list[Record]:
    """Fetch a page in whatever order its rows come.

    Raises:
        WrongAnswerError: The page has a row outside the query's ranges.
    """
    records = fetch(query)
    for key in TIME_KEYS:
        if len(in_range(records, key, query.range_of(key))) < len(records):
            raise WrongAnswerError(f"rows came from outside the range of {key} that was asked for")
    return records


def in_range(records: list[Record], key: TimeKey, time_range: TimeRange) -> list[Record]:
    """Return the records whose time is in a range; a time that is missing counts as in range."""
    if time_range == TimeRange():
        return records
    start = timestamp_of_second(time_range.gte)
    # A range without an end also has the last second there is.
    end = "~" if time_range.lt >= END_OF_TIME else timestamp_of_second(time_range.lt)
    return [record for record in records if not (time := record.get(key)) or start <= time[:SECOND_LENGTH] < end]
