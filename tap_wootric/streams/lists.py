"""Lists that change while they are read."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Any, NoReturn

import requests
from singer_sdk.exceptions import FatalAPIError, RetriableAPIError
from typing_extensions import override

from tap_wootric.api.responses import ApiUnavailableError
from tap_wootric.pagination import parallel
from tap_wootric.pagination.forecast import forecast
from tap_wootric.pagination.query import (
    ALL_TIME,
    BEGINNING_OF_TIME,
    END_OF_TIME,
    PAGE_SIZE,
    TIME_KEYS,
    FetchPage,
    PaginationError,
    Query,
    SortKey,
    TimeKey,
    TimeRange,
    UnprovenSecondError,
)
from tap_wootric.progress import Progress, RequestsAfter
from tap_wootric.records.timestamps import (
    SECOND_LENGTH,
    SECONDS_PER_DAY,
    timestamp_of_second,
    unix_seconds,
)
from tap_wootric.records.transform import Record
from tap_wootric.streams.base import Fetch, SyncRange, WootricStream

_YEAR_2100 = unix_seconds("2100-01-01T00:00:00Z")

_MAX_FIRST_PAGES = 3
"""How often to ask for a first page while earlier rows keep coming up, before the API is taken not to sort."""


class ListStream(WootricStream):
    """A list of the Wootric API, read in the order that `pagination` gives, which loses no rows.

    An incremental sync reads by `updated_at`, from the bookmark to the start of the sync. A full-table sync reads by
    `created_at`, which no update changes, so that it misses no row that exists.
    """

    replication_key = "updated_at"

    sort_keys: tuple[SortKey, ...] = TIME_KEYS
    """The keys by which the API sorts the list (documented)."""

    filters_exclusion = False
    """Whether the API filters this list by `excluded_from_calculations` (documented for responses)."""

    filters_updates = False
    """Whether the API is known to filter and sort this list by update time. If it is not, each sync finds out."""

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

        A second that cannot be proven complete is only a warning if the next sync reads it again. Otherwise the rest is
        read, and then the stream fails.

        Raises:
            FatalAPIError: Also if rows may be missing.
        """
        queries, fetch_page = self._first_request(partial(self._fetch_page, fetch), sync_range)
        sort_key = queries[0].time_key
        unproven = list[UnprovenSecondError]()
        progress.forecast = partial(self._forecast, queries[0], sync_range.end)
        records = chain.from_iterable(
            parallel.read(
                fetch_page,
                query,
                self.settings.concurrency,
                lambda: self.client.is_rate_limited(self.path),
                on_unproven=partial(self._note_unproven, unproven, sort_key, sync_range),
            )
            for query in queries
        )
        try:
            yield from self._updated_since(sync_range.start, records, sort_key, progress)
        except PaginationError as error:
            raise FatalAPIError(f"{self.name}: {error}") from error
        if unproven:
            self.error = None  # This one says more.
            self._raise_unproven(unproven, sort_key)

    def _fetch_page(self, fetch: Fetch, query: Query) -> list[Record]:
        """Return the page that answers a query. If the query is limited to a second, wait until that second is over."""
        for time_range in (query.created_at, query.updated_at):
            if len(time_range) == 1:  # No row enters a second that is over.
                self.client.sleep_until(time_range.lt)
        try:
            return fetch(parameters(query))
        except FatalAPIError as error:
            if query.is_excluded is None or isinstance(error, ApiUnavailableError):
                raise
            return []  # It would only have shown more of a second that stays unproven anyway.

    def _forecast(self, query: Query, end: int, second: int) -> RequestsAfter | None:
        """Return an estimate for a query's rows from one Unix second to another, or None; see `Progress`."""
        rest = query.with_range(query.time_key, TimeRange(min(second, end), end + 1))
        # No retries and no errors: a sync does not need an estimate, and meets any lasting problem itself.
        with suppress(FatalAPIError, RetriableAPIError, PaginationError, requests.RequestException):
            estimate = forecast(lambda sample: self._fetch(parameters(sample)), rest)
            return lambda position: estimate.rows_after(position) / PAGE_SIZE
        return None

    def _note_unproven(
        self, unproven: list[UnprovenSecondError], sort_key: TimeKey, sync_range: SyncRange, error: UnprovenSecondError
    ) -> None:
        """Log that a second could not be proven complete. Add it to `unproven` unless the next sync reads it again."""
        consequence = "The next sync reads this second again"
        if self.is_full_table or error.query.range_of(sort_key).gte < sync_range.end - self.lookback_seconds:
            unproven.append(error)
            self.error = self.error or FatalAPIError(str(error))  # Reported even if another error ends the stream.
            consequence = "Reading goes on behind this second, but the stream counts as failed"
        # Now, not at the end: a sync may be killed before, and the next one may start behind this second.
        self.log("%s: %s. %s", self.name, error, consequence, level=logging.WARNING)

    def _raise_unproven(self, unproven: Sequence[UnprovenSecondError], sort_key: TimeKey) -> NoReturn:
        """Fail because of the seconds that could not be proven complete, with a bookmark behind them."""
        number = len(unproven)
        others = f" (1 of {number} such seconds; the warnings name the others)" if number > 1 else ""
        if self.is_full_table:
            advice = "The target keeps the rows of earlier syncs"
        elif sort_key == "created_at":
            advice = "As this API does not filter by updated_at, each sync fetches them again"
        else:
            advice = f"The next sync goes on behind {'it' if number == 1 else 'them'}"
            # If no later second has rows, the bookmark would stay here, and the next sync would fail as well.
            behind = max(error.query.updated_at.lt for error in unproven)
            self.high_watermark = max(self.high_watermark, f"{timestamp_of_second(behind)}Z")
        raise FatalAPIError(f"{self.name}: {unproven[0]}{others}. {advice}")

    @override
    def sample_params(self) -> dict[str, Any]:
        """Return the parameters of a request for one row."""
        return parameters(Query("created_at", size=1, sort_keys=self.sort_keys))

    @override
    def records(self, response: requests.Response, params: Mapping[str, Any]) -> list[Record]:
        """Return the records of a page."""
        records = self.transformer.page(response.content) if response.ok else None
        return super().records(response, params) if records is None else records

    def _first_request(self, fetch_page: FetchPage, sync_range: SyncRange) -> tuple[list[Query], FetchPage]:
        """Return the queries of a sync, and a function that fetches their pages.

        Unless it is known that the API filters and sorts by update time, the first page is fetched to find out. The
        function then returns that page without a request if it is asked for first.
        """
        queries = self._queries(sync_range, filters_updates=True)
        first = queries[0]
        if self.filters_updates or not first.range_of(first.time_key):
            return queries, fetch_page
        page = fetch_page(first)
        if not _heeds_updates(fetch_page, first, page):
            self.log(
                "%s: this API does not filter by updated_at; each sync fetches all rows created since start_date, "
                "and emits those updated since the last sync",
                self.name,
                level=logging.WARNING,
            )
            queries = self._queries(sync_range, filters_updates=False)
            if parameters(queries[0]) != parameters(first):
                first, page = queries[0], fetch_page(queries[0])
        if first.sort_key == "created_at" and not _has_all_earlier(fetch_page, first, page):
            raise FatalAPIError(f"{self.name}: rows that were to be sorted by created_at came in another order")
        return queries, _reusing(fetch_page, parameters(first), page)

    def _queries(self, sync_range: SyncRange, *, filters_updates: bool) -> list[Query]:
        """Return the queries of a sync, depending on whether the API filters by `updated`."""
        start, end = sync_range.start, sync_range.end
        query = Query("created_at", sort_keys=self.sort_keys, filters_exclusion=self.filters_exclusion)
        if filters_updates and not self.is_full_table:
            return [replace(query, sort_key="updated_at", updated_at=TimeRange(start, end + 1))]
        if filters_updates:
            everything = replace(query, updated_at=TimeRange(start))
        else:
            start_date = self.settings.start_date
            created_at = TimeRange(BEGINNING_OF_TIME if start_date is None else start_date)
            everything = replace(query, created_at=created_at, sort_keys=("created_at",))
        begin = everything.created_at.gte
        if not self.is_full_table:
            return [everything.with_range("created_at", TimeRange(begin, end + 1))]
        # A target drops what a full table lacks: let neither late commits, clocks nor future timestamps decide that.
        everything = replace(everything, settled_until=max(0, end - self.lookback_seconds))
        tomorrow = end + SECONDS_PER_DAY
        ranges = (TimeRange(begin, tomorrow), TimeRange(tomorrow))
        return [everything.with_range("created_at", time_range) for time_range in ranges]

    def _updated_since(
        self, start: int, records: Iterable[Record], sort_key: SortKey, progress: Progress
    ) -> Iterable[Record]:
        """Yield the records updated since a Unix second, and keep the high watermark up to date."""
        oldest = timestamp_of_second(start) if start > 0 else ""
        newest = ""
        is_sorted_by_update = sort_key == "updated_at"
        for number, record in enumerate(records, start=1):
            if not number % PAGE_SIZE:
                progress.reached(record.get(sort_key))
            if updated_at := record.get("updated_at"):
                if updated_at < oldest:
                    continue
                newest = max(newest, updated_at)
                if is_sorted_by_update:
                    self.high_watermark = newest
            progress.rows += 1
            yield record
        self.high_watermark = newest


def _heeds_updates(fetch_page: FetchPage, first: Query, page: list[Record]) -> bool:
    """Return whether the API filters and sorts by update time, or does not need to.

    Older deployments ignore those parameters silently.

    Args:
        fetch_page: Sends a request.
        first: The first query to an API that filters and sorts by update time.
        page: Its answer.
    """
    if len(replace(first, created_at=ALL_TIME).select(page)) < len(page):
        return False
    if len(page) < PAGE_SIZE and _is_sorted(page, first.time_key):
        return True  # With or without the filter, these are all rows.
    if first.sort_key == "updated_at" and _is_sorted(page, "updated_at"):
        return _has_all_earlier(fetch_page, first, page)
    return not fetch_page(Query("updated_at", updated_at=TimeRange(gte=_YEAR_2100)))


def _has_all_earlier(fetch_page: FetchPage, first: Query, page: list[Record]) -> bool:
    """Return whether the first page of a list has all rows that come before its last second, as the reading assumes.

    It lacks some if the API sorts by another time or in the other direction, which need not show on the page: all its
    rows may have the same time. If the API does not filter by that time, it returns later rows instead.
    """
    key = first.time_key
    for _ in range(_MAX_FIRST_PAGES):
        seconds = _seconds(page, key)
        is_proven = key == "created_at" and len({*seconds}) > 1
        if len(page) < PAGE_SIZE or not seconds or is_proven:
            return True
        earlier = first.with_range(key, TimeRange(first.range_of(key).gte, unix_seconds(max(seconds))))
        rows = fetch_page(earlier)
        if len(earlier.select(rows)) < len(rows):
            return False
        if {row["id"] for row in rows} <= {record["id"] for record in page}:
            return True
        page = fetch_page(first)  # A row may have been committed late.
    return False


def _reusing(fetch_page: FetchPage, params: Mapping[str, Any], page: list[Record]) -> FetchPage:
    """Return a function that fetches pages, but answers its first call with a given page if it has these parameters."""
    unused = [page]

    def fetch(query: Query) -> list[Record]:
        if unused and parameters(query) == params:
            return unused.pop()
        unused.clear()
        return fetch_page(query)

    return fetch


def _is_sorted(page: list[Record], key: TimeKey) -> bool:
    """Return whether the records are in ascending order of a time, to the second."""
    seconds = _seconds(page, key)
    return seconds == sorted(seconds)


def _seconds(page: list[Record], key: TimeKey) -> list[str]:
    """Return the seconds of a time of the records that have it."""
    return [time[:SECOND_LENGTH] for record in page if (time := record.get(key))]


def parameters(query: Query) -> dict[str, Any]:
    """Return the API's parameters for a query. Times are Unix seconds."""
    params: dict[str, Any] = {
        "per_page": query.size,
        "sort_key": query.sort_key,
        "sort_order": "desc" if query.descending else "asc",
    }
    for name, time_range in (("updated", query.updated_at), ("created", query.created_at)):
        if time_range.gte > BEGINNING_OF_TIME:
            params[f"{name}[gte]"] = time_range.gte
        if time_range.lt < END_OF_TIME:
            params[f"{name}[lt]"] = time_range.lt
    if query.is_excluded is not None:
        params["excluded_from_calculations"] = str(query.is_excluded).lower()
    if query.page > 1:
        params["page"] = query.page
    return params
