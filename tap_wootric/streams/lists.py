"""Lists that change while they are read."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import chain
from typing import Any, NoReturn

import requests
from singer_sdk.exceptions import FatalAPIError, RetriableAPIError
from typing_extensions import override

from tap_wootric.api.responses import ApiUnavailableError
from tap_wootric.pagination import parallel
from tap_wootric.pagination.forecast import forecast
from tap_wootric.pagination.query import (
    BEGINNING_OF_TIME,
    END_OF_TIME,
    PAGE_SIZE,
    TIME_KEYS,
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
    normalize_timestamp,
    timestamp_of_second,
    unix_seconds,
)
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

    filters_exclusion = False
    """Whether the API filters this list by `excluded_from_calculations` (documented for responses)."""

    filters_updates = False
    """Whether the API is known to filter this list by `updated`. If it is not, a request finds out."""

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

        A second that cannot be proven complete is a mere warning if the next sync reads it again. If it does not, the
        reading goes on behind it, and fails at its end.

        Raises:
            FatalAPIError: Also if rows may be missing.
        """
        start = sync_range.start

        def fetch_page(query: Query) -> list[Record]:
            return self._fetch_page(fetch, query)

        def is_limited() -> bool:
            return self.client.is_rate_limited(self.path)

        queries = self._queries(start, sync_range.end, filters_updates=self._filters_updates(fetch_page))
        sort_key = queries[0].time_key
        unproven = list[UnprovenSecondError]()

        def forecast_after(second: int) -> RequestsAfter | None:
            rest = TimeRange(min(second, sync_range.end), sync_range.end + 1)
            query = queries[0].with_range(sort_key, rest)
            # Without retries: the reading finds out whatever is wrong, or does without these pages.
            with suppress(FatalAPIError, RetriableAPIError, PaginationError, requests.RequestException):
                rows_after = forecast(lambda query: self._fetch(parameters(query)), query).rows_after
                return lambda second: rows_after(second) / PAGE_SIZE
            return None

        def on_unproven(error: UnprovenSecondError) -> None:
            consequence = "The next sync reads this second again"
            if self.is_full_table or error.query.range_of(sort_key).gte < sync_range.end - self.lookback_seconds:
                unproven.append(error)
                self.error = self.error or FatalAPIError(str(error))  # Whatever else ends the stream.
                consequence = "Reading goes on behind this second, but the stream counts as failed"
            # At once: a killed sync would not come to its end, and the next one may start behind this second.
            self.log("%s: %s. %s", self.name, error, consequence, level=logging.WARNING)

        progress.forecast = forecast_after
        records = chain.from_iterable(
            parallel.read(
                fetch_page,
                replace(query, filters_exclusion=self.filters_exclusion),
                self.settings.concurrency,
                is_limited,
                on_unproven=on_unproven,
            )
            for query in queries
        )
        try:
            yield from self._updated_since(start, records, sort_key, progress)
        except PaginationError as error:
            raise FatalAPIError(f"{self.name}: {error}") from error
        if unproven:
            self.error = None
            self._raise_unproven(unproven, sort_key)

    def _fetch_page(self, fetch: Fetch, query: Query) -> list[Record]:
        """Return the page that answers a query, once each second that the query is limited to is over."""
        for time_range in (query.created_at, query.updated_at):
            if len(time_range) == 1:  # No row enters a second that is over.
                self.client.sleep_until(time_range.lt)
        try:
            return fetch(parameters(query))
        except FatalAPIError as error:
            if query.is_excluded is None or isinstance(error, ApiUnavailableError):
                raise
            return []  # It would only have shown more of a second that stays unproven anyway.

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
            # Otherwise, the next sync would read the second again if it is the last one that has rows.
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

    def _filters_updates(self, fetch_page: Callable[[Query], list[Record]]) -> bool:
        """Return whether the API filters by `updated`. Older deployments ignore the parameter silently."""
        if self.filters_updates or not fetch_page(Query("updated_at", updated_at=TimeRange(gte=_YEAR_2100))):
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
    if query.is_excluded is not None:
        params["excluded_from_calculations"] = str(query.is_excluded).lower()
    if query.page > 1:
        params["page"] = query.page
    return params
