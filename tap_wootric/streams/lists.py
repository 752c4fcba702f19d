"""A list that changes while it is read: from where, up to where, and how far the reading got."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any

import requests
from singer_sdk.exceptions import FatalAPIError

from tap_wootric.pagination import parallel
from tap_wootric.pagination.query import (
    BEGINNING_OF_TIME,
    END_OF_TIME,
    PAGE_SIZE,
    TIME_KEYS,
    Fetch,
    PaginationError,
    Query,
    SortKey,
    TimeRange,
)
from tap_wootric.progress import Progress
from tap_wootric.records.timestamps import SECOND_LENGTH, SECONDS_PER_DAY, normalize_timestamp, unix_seconds
from tap_wootric.records.transform import Record
from tap_wootric.streams.base import Fetch as FetchRecords
from tap_wootric.streams.base import WootricStream

_YEAR_2100 = unix_seconds("2100-01-01T00:00:00Z")


class ListStream(WootricStream):
    """A list of the Wootric API, read in the order that `pagination` gives.

    INCREMENTAL reads by `updated_at`, from the bookmark to the start of the sync. FULL_TABLE reads by `created_at`,
    which no update changes, so that no row that exists is left out.
    """

    replication_key = "updated_at"

    sort_keys: tuple[SortKey, ...] = TIME_KEYS
    """What the API sorts the list by (documented)."""

    filters_updates = False
    """Whether the API is known to filter this list by `updated`. Where it is not, a request finds out."""

    @property
    def lookback(self) -> int:
        """Seconds before a sync's start that the bookmark does not pass.

        A row's `updated_at` is set before its transaction commits, so behind the rows just read more may appear.
        """
        return int(self.config["lookback_window"])

    def read(self, ask: FetchRecords, since: int, start: int, progress: Progress) -> Iterable[Record]:
        """Yield the rows that were updated since a Unix second, in the order of one of the two clocks.

        Raises:
            FatalAPIError: Also where going on would lose rows.
        """

        def fetch(query: Query) -> list[Record]:
            for time_range in (query.created_at, query.updated_at):
                if len(time_range) == 1:  # A crowded second is read once it is over: no row enters it then.
                    self.tap.rate_limiter.sleep_until(time_range.lt)
            return ask(parameters(query))

        def is_limited() -> bool:
            return self.tap.rate_limiter.is_limited(self.path)

        queries = self._queries(since, start, filters_updates=self._filters_updates(fetch))
        at_once = self.config["concurrency"]
        records = chain.from_iterable(parallel.read(fetch, query, at_once, is_limited) for query in queries)
        try:
            yield from self._wanted(records, since, queries[0].sort_key, progress)
        except PaginationError as error:
            raise FatalAPIError(f"{self.name}: {error}") from error

    def records(self, response: requests.Response, params: Mapping[str, Any]) -> list[Record]:
        """Return the records of a page."""
        records = self.shape.page(response.content) if response.ok else None
        return super().records(response, params) if records is None else records

    def _queries(self, since: int, start: int, *, filters_updates: bool) -> list[Query]:
        """Return the queries of a sync, for rows that were updated from `since` to `start`, Unix seconds."""
        if filters_updates and not self.is_full:
            return [Query("updated_at", updated_at=TimeRange(since, start + 1), sort_keys=self.sort_keys)]
        if filters_updates:
            settled_until = max(0, start - self.lookback)
            everything = Query(
                "created_at", updated_at=TimeRange(since), sort_keys=self.sort_keys, settled_until=settled_until
            )
        else:
            everything = Query("created_at", created_at=TimeRange(self.start_date), sort_keys=("created_at",))
        begin = everything.created_at.gte
        if not self.is_full:
            return [everything.with_range("created_at", TimeRange(begin, start + 1))]
        # A target drops what a full table lacks: let neither clocks nor rows that are ahead of time decide that.
        tomorrow = start + SECONDS_PER_DAY
        ranges = (TimeRange(begin, tomorrow), TimeRange(tomorrow))
        return [everything.with_range("created_at", time_range) for time_range in ranges]

    def _filters_updates(self, fetch: Fetch) -> bool:
        """Return whether the API filters by `updated`; one that does not ignores the parameter without a word."""
        if self.filters_updates or not fetch(Query("updated_at", updated_at=TimeRange(gte=_YEAR_2100))):
            return True
        self.log(
            "This API does not filter %s by updated_at: each sync asks for all of them that were created since "
            "start_date, and emits those that were updated since the last one",
            self.name,
            level=logging.WARNING,
        )
        return False

    def _wanted(self, records: Iterable[Record], since: int, sort_key: SortKey, progress: Progress) -> Iterable[Record]:
        """Yield the records that were updated since a Unix second, and keep track of how far the reading got."""
        oldest = normalize_timestamp(since)[:SECOND_LENGTH] if since > 0 else ""
        newest = ""
        is_in_order = sort_key == "updated_at"
        for record in records:
            if stamp := record.get("updated_at"):
                if stamp < oldest:
                    continue
                newest = max(newest, stamp)
                if is_in_order:
                    self.high_watermark = newest
            progress.rows += 1
            if not progress.rows % PAGE_SIZE:
                progress.at(record.get(sort_key))
            yield record
        self.high_watermark = newest


def parameters(query: Query) -> dict[str, Any]:
    """Return a query in the API's words; times are Unix seconds."""
    params: dict[str, Any] = {
        "per_page": query.size,
        "sort_key": query.sort_key,
        "sort_order": "desc" if query.descending else "asc",
    }
    for name, span in (("updated", query.updated_at), ("created", query.created_at)):
        if span.gte > BEGINNING_OF_TIME:
            params[f"{name}[gte]"] = span.gte
        if span.lt < END_OF_TIME:
            params[f"{name}[lt]"] = span.lt
    if query.page > 1:
        params["page"] = query.page
    return params
