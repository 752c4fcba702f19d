"""A list that changes while it is read: from where, up to where, and how far the reading got."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any

import requests
from singer_sdk.exceptions import FatalAPIError

from tap_wootric.pagination import parallel
from tap_wootric.pagination import query as seek
from tap_wootric.progress import Progress
from tap_wootric.records.timestamps import SECOND_LENGTH, SECONDS_PER_DAY, normalize_timestamp, unix_seconds
from tap_wootric.records.transform import Record
from tap_wootric.streams.base import Fetch, WootricStream

_YEAR_2100 = unix_seconds("2100-01-01T00:00:00Z")


class ListStream(WootricStream):
    """A list of the Wootric API, read in the order that `seek.py` gives.

    INCREMENTAL reads by `updated_at`, from the bookmark to the start of the sync. FULL_TABLE reads by `created_at`,
    which no update changes, so that no row that exists is left out.
    """

    replication_key = "updated_at"

    filters_updates = False
    """Whether the API is known to filter this list by `updated`. Where it is not, a request finds out."""

    @property
    def lookback(self) -> int:
        """Seconds before a sync's start that the bookmark does not pass.

        A row's `updated_at` is set before its transaction commits, so behind the rows just read more may appear.
        """
        return int(self.config["lookback_window"])

    def read(self, ask: Fetch, since: int, start: int, progress: Progress) -> Iterable[Record]:
        """Yield the rows that were updated since a Unix second, in the order of one of the two clocks.

        Raises:
            FatalAPIError: Also where going on would lose rows.
        """

        def fetch(query: seek.Query) -> list[Record]:
            if len(query.updated_at) == 1:  # A crowded second is read once it is over: no row enters it then.
                self.tap.client.sleep_until(query.updated_at.lt)
            return ask(parameters(query))

        def is_limited() -> bool:
            return self.tap.client.is_rate_limited(self.path)

        queries = self._queries(since, start, filters_updates=self._filters_updates(fetch))
        at_once = self.config["concurrency"]
        records = chain.from_iterable(parallel.read(fetch, query, at_once, is_limited) for query in queries)
        try:
            yield from self._wanted(records, since, queries[0].order_by, progress)
        except seek.PaginationError as error:
            raise FatalAPIError(f"{self.name}: {error}") from error

    def records(self, response: requests.Response, params: Mapping[str, Any]) -> list[Record]:
        """Return the records of a page."""
        records = self.shape.page(response.content) if response.ok else None
        return super().records(response, params) if records is None else records

    def _queries(self, since: int, start: int, *, filters_updates: bool) -> list[seek.Query]:
        """Return the queries of a sync, for rows that were updated from `since` to `start`, Unix seconds."""
        if filters_updates and not self.is_full:
            return [seek.Query("updated_at", updated_at=seek.TimeRange(since, start + 1))]
        if filters_updates:
            everything = seek.Query("created_at", updated_at=seek.TimeRange(since))
        else:
            everything = seek.Query("created_at", created_at=seek.TimeRange(self.start_date), single_sort_key=True)
        begin = everything.created_at.gte
        if not self.is_full:
            return [everything.with_range("created_at", seek.TimeRange(begin, start + 1))]
        # A target drops what a full table lacks: let neither clocks nor rows that are ahead of time decide that.
        tomorrow = start + SECONDS_PER_DAY
        return [
            everything.with_range("created_at", span)
            for span in (seek.TimeRange(begin, tomorrow), seek.TimeRange(tomorrow))
        ]

    def _filters_updates(self, fetch: seek.Fetch) -> bool:
        """Return whether the API filters by `updated`; one that does not ignores the parameter without a word."""
        if self.filters_updates or not fetch(seek.Query("updated_at", updated_at=seek.TimeRange(gte=_YEAR_2100))):
            return True
        self.log(
            "This API does not filter %s by updated_at: each sync asks for all of them that were created since "
            "start_date, and emits those that were updated since the last one",
            self.name,
            level=logging.WARNING,
        )
        return False

    def _wanted(
        self, records: Iterable[Record], since: int, order_by: seek.SortKey, progress: Progress
    ) -> Iterable[Record]:
        """Yield the records that were updated since a Unix second, and keep track of how far the reading got."""
        oldest = normalize_timestamp(since)[:SECOND_LENGTH] if since > 0 else ""
        newest = ""
        is_in_order = order_by == "updated_at"
        for record in records:
            if stamp := record.get("updated_at"):
                if stamp < oldest:
                    continue
                newest = max(newest, stamp)
                if is_in_order:
                    self.high_watermark = newest
            progress.rows += 1
            if not progress.rows % seek.PAGE_SIZE:
                progress.at(record.get(order_by))
            yield record
        self.high_watermark = newest


def parameters(query: seek.Query) -> dict[str, Any]:
    """Return a query in the API's words; times are Unix seconds."""
    params: dict[str, Any] = {
        "per_page": query.size,
        "sort_key": query.order_by,
        "sort_order": "desc" if query.descending else "asc",
    }
    for name, span in (("updated", query.updated_at), ("created", query.created_at)):
        if span.gte > seek.BEGINNING_OF_TIME:
            params[f"{name}[gte]"] = span.gte
        if span.lt < seek.END_OF_TIME:
            params[f"{name}[lt]"] = span.lt
    if query.page > 1:
        params["page"] = query.page
    return params
