"""Lists that change while they are read."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import chain
from typing import Any

import requests
from singer_sdk.exceptions import FatalAPIError
from typing_extensions import override

from tap_wootric.pagination import parallel
from tap_wootric.pagination.query import (
    ALL_TIME,
    BEGINNING_OF_TIME,
    END_OF_TIME,
    PAGE_SIZE,
    TIME_KEYS,
    PaginationError,
    Query,
    SortKey,
    TimeKey,
    TimeRange,
)
from tap_wootric.progress import Progress
from tap_wootric.records.timestamps import SECOND_LENGTH, SECONDS_PER_DAY, normalize_timestamp, unix_seconds
from tap_wootric.records.transform import Record
from tap_wootric.streams.base import Fetch, SyncRange, WootricStream

_YEAR_2100 = unix_seconds("2100-01-01T00:00:00Z")


class ListStream(WootricStream):
    """A list of the Wootric API, read in the order that `pagination` gives, which loses no rows.

    An incremental sync reads by `updated_at`, from the bookmark to the start of the sync. A full-table sync reads by
    `created_at`, which no update changes, so that it misses no row that exists.
    """

    replication_key = "updated_at"

    sort_keys: tuple[SortKey, ...] = TIME_KEYS
    """The keys by which the API sorts the list (documented)."""

    filters_updates = False
    """Whether the API is known to filter this list by `updated`. If it is not, each sync finds out."""

    @property
    @override
    def lookback_seconds(self) -> int:
        """How far the bookmark stays behind the start of a sync.

        The API sets `updated_at` before its transaction commits, so rows can appear behind those already read.
        """
        return self.settings.lookback_seconds

    @override
    def read(self, fetch: Fetch, sync_range: SyncRange, progress: Progress) -> Iterable[Record]:
        """Yield the rows updated in the range, sorted by `updated_at` or by `created_at`.

        Raises:
            FatalAPIError: Also if going on would lose rows.
        """
        start = sync_range.start

        first_page: list[tuple[dict[str, Any], list[Record]]] = []

        def fetch_page(query: Query) -> list[Record]:
            params = parameters(query)
            if first_page:
                first_params, page = first_page.pop()
                if params == first_params:
                    return page
            for time_range in (query.created_at, query.updated_at):
                if len(time_range) == 1:  # No row enters a second that is over.
                    self.client.sleep_until(time_range.lt)
            return fetch(params)

        def is_limited() -> bool:
            return self.client.is_rate_limited(self.path)

        queries = self._queries(start, sync_range.end, filters_updates=True)
        if not self.filters_updates and queries[0].range_of(queries[0].time_key):
            asked, page = queries[0], fetch_page(queries[0])
            if not self._filters_updates(fetch_page, asked, page):
                queries = self._queries(start, sync_range.end, filters_updates=False)
            first_page.append((parameters(asked), page))
        concurrency = self.settings.concurrency
        records = chain.from_iterable(parallel.read(fetch_page, query, concurrency, is_limited) for query in queries)
        try:
            yield from self._updated_since(start, records, queries[0].sort_key, progress)
        except PaginationError as error:
            raise FatalAPIError(f"{self.name}: {error}") from error

    @override
    def records(self, response: requests.Response, params: Mapping[str, Any]) -> list[Record]:
        """Return the records of a page."""
        records = self.transformer.page(response.content) if response.ok else None
        return super().records(response, params) if records is None else records

    def _queries(self, start: int, end: int, *, filters_updates: bool) -> list[Query]:
        """Return the queries of a sync for the rows updated between two Unix seconds."""
        if filters_updates and not self.is_full_table:
            return [Query("updated_at", updated_at=TimeRange(start, end + 1), sort_keys=self.sort_keys)]
        if filters_updates:
            everything = Query("created_at", updated_at=TimeRange(start), sort_keys=self.sort_keys)
        else:
            start_date = self.settings.start_date
            created_at = TimeRange(BEGINNING_OF_TIME if start_date is None else start_date)
            everything = Query("created_at", created_at=created_at, sort_keys=("created_at",))
        begin = everything.created_at.gte
        if not self.is_full_table:
            return [everything.with_range("created_at", TimeRange(begin, end + 1))]
        # A target drops what a full table lacks: let neither late commits, clocks nor future timestamps decide that.
        everything = replace(everything, settled_until=max(0, end - self.lookback_seconds))
        tomorrow = end + SECONDS_PER_DAY
        ranges = (TimeRange(begin, tomorrow), TimeRange(tomorrow))
        return [everything.with_range("created_at", time_range) for time_range in ranges]

    def _filters_updates(self, fetch_page: Callable[[Query], list[Record]], query: Query, page: list[Record]) -> bool:
        """Return whether the API filters by `updated`, or does not need to.

        Older deployments ignore the parameter silently, and sort by creation whatever `sort_key` is. Where the first
        page of the list does not tell, one more request does.

        Args:
            fetch_page: Sends a request.
            query: What an API is asked that filters by `updated`.
            page: Its answer.
        """
        is_filtered = len(replace(query, created_at=ALL_TIME).select(page)) == len(page)
        if is_filtered and _is_sorted(page, query.time_key):
            if len(page) < PAGE_SIZE:
                return True  # With or without the filter, these are all rows.
            if not _is_sorted(page, "created_at") and not _is_sorted(page[::-1], "created_at"):
                return True
        if is_filtered and not fetch_page(Query("updated_at", updated_at=TimeRange(gte=_YEAR_2100))):
            return True
        self.log(
            "%s: this API does not filter by updated_at; each sync fetches all rows created since start_date, "
            "and emits those updated since the last sync",
            self.name,
            level=logging.WARNING,
        )
        return False

    def _updated_since(
        self, start: int, records: Iterable[Record], sort_key: SortKey, progress: Progress
    ) -> Iterable[Record]:
        """Yield the records updated since a Unix second, and keep the high watermark up to date."""
        oldest = normalize_timestamp(start)[:SECOND_LENGTH] if start > 0 else ""
        newest = ""
        is_sorted_by_update = sort_key == "updated_at"
        for record in records:
            if updated_at := record.get("updated_at"):
                if updated_at < oldest:
                    continue
                newest = max(newest, updated_at)
                if is_sorted_by_update:
                    self.high_watermark = newest
            progress.rows += 1
            if not progress.rows % PAGE_SIZE:
                progress.reached(record.get(sort_key))
            yield record
        self.high_watermark = newest


def _is_sorted(page: list[Record], key: TimeKey) -> bool:
    """Return whether the records are in ascending order of a time, to the second."""
    seconds = [stamp[:SECOND_LENGTH] for record in page if (stamp := record.get(key))]
    return seconds == sorted(seconds)


def parameters(query: Query) -> dict[str, Any]:
    """Return the API's parameters for a query. Times are Unix seconds."""
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
