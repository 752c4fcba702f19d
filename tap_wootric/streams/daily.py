"""Metrics that the API only returns as totals of a range of days, as one row for each day."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import suppress
from functools import cached_property
from typing import Any

from singer_sdk.exceptions import ConfigValidationError, FatalAPIError
from typing_extensions import override

from tap_wootric.progress import Progress
from tap_wootric.records.timestamps import DATE_LENGTH, SECONDS_PER_DAY, normalize_timestamp, timestamp_of_second
from tap_wootric.records.transform import Record, RecordTransformer, Row
from tap_wootric.streams.base import Fetch, SyncRange, WootricStream

_LATE_RESPONSE_DAYS = 7
"""Most people who respond do so within this time. It is our estimate: nothing about it is documented."""


class DailyStream(WootricStream):
    """Daily totals, with one request for each day from the bookmark or `start_date` to today (UTC).

    Days follow the account's time zone (documented). A day that has begun there but not in UTC comes with the next
    sync. The bookmark stays behind, because late responses change the totals.
    """

    primary_keys = ("date",)
    replication_key = "date"

    @property
    @override
    def lookback_seconds(self) -> int:
        """How far the bookmark stays behind the start of a sync."""
        return _LATE_RESPONSE_DAYS * SECONDS_PER_DAY

    @override
    def check_settings(self) -> None:
        """Check that there is a day to start with.

        Raises:
            ConfigValidationError: There is none.
        """
        has_bookmark = not self.is_full_table and self.bookmark
        if not has_bookmark and self.settings.start_date is None:
            raise ConfigValidationError(
                "No start_date", errors=[f"start_date is not set: {self.name} needs it as its first day"]
            )

    @staticmethod
    @override
    def bookmark_at(time: object) -> str:
        """Return the date of a time in any form that `normalize_timestamp` accepts."""
        return normalize_timestamp(time)[:DATE_LENGTH]

    @override
    def read(self, fetch: Fetch, sync_range: SyncRange, progress: Progress) -> Iterable[Record]:
        """Yield a row for each day in the range.

        It is not documented whether a range of days includes the day of `date[end]`. A response in a range of a single
        day shows that it does, so no row is emitted before there is one. If no single day has responses but all days
        together have some, ranges exclude their last day: then the days are fetched again with ranges of two days.

        Raises:
            FatalAPIError: Also if the range has no day, so that a full table would drop all rows.
        """
        days = range(sync_range.start // SECONDS_PER_DAY, sync_range.end // SECONDS_PER_DAY + 1)
        if not days:
            if self.is_full_table:
                today = _date(sync_range.end // SECONDS_PER_DAY)
                raise FatalAPIError(f"{self.name}: start_date is after today, which is {today} by the API's clock")
            return
        pending, includes_last_day = list[Record](), False
        for record in self._totals(fetch, days, 0):
            progress.reached(f"{record['date']}T00:00:00Z")
            pending.append(record)
            includes_last_day = includes_last_day or bool(record["responses"])
            if includes_last_day:
                yield from self._emitted(pending, progress)
                pending = []
        if pending and _excludes_last_day(fetch, days):
            yield from self._emitted(self._totals(fetch, days, 1), progress)
        else:
            yield from self._emitted(pending, progress)

    def _totals(self, fetch: Fetch, days: range, length: int) -> Iterator[Record]:
        """Yield the totals of one range for each day, which ends some days later.

        Days are fetched in parallel, unless the first response announces a rate limit. The threads are daemons: one
        that is blocked on a request does not delay the end of the process.
        """
        first, *others = (_day_range(day, day + length) for day in days)
        yield from fetch(first)
        totals = [Future[list[Record]]() for _ in others]
        queue = deque(zip(others, totals, strict=True))

        def work() -> None:
            with suppress(IndexError):  # The queue is empty.
                while True:
                    params, future = queue.popleft()
                    try:
                        future.set_result(fetch(params))
                    except Exception as error:  # noqa: BLE001 - Raised where the totals are yielded.
                        future.set_exception(error)

        for _ in range(1 if self.client.is_rate_limited(self.path) else self.settings.concurrency):
            threading.Thread(target=work, daemon=True).start()
        try:
            for future in totals:
                yield from future.result()
        finally:
            queue.clear()

    def _emitted(self, records: Iterable[Record], progress: Progress) -> Iterator[Record]:
        """Yield records without deselected fields, and keep the high watermark up to date."""
        fields = self.effective_schema["properties"]
        for record in records:
            self.high_watermark = record["date"]
            progress.rows += 1
            yield {name: value for name, value in record.items() if name in fields}

    @cached_property
    def transformer(self) -> RecordTransformer:
        """Makes records of rows. They keep `responses` even if the catalog lacks it, because `read` needs it."""
        return RecordTransformer(self.schema, self.schema, self._log_unexpected_field)

    @override
    def rows(self, content: Any, params: Mapping[str, Any]) -> list[Row]:
        """Return the totals in the JSON of a response as a row. Without `responses` it has another structure."""
        return [{**content, "responses": content["responses"], "date": params["date[start]"]}]


def _excludes_last_day(fetch: Fetch, days: range) -> bool:
    """Return whether ranges exclude the day of `date[end]`, given that no single day has responses.

    Today is fetched again, because its first response may have come in meanwhile. So is tomorrow, which may have begun
    in the account's time zone.
    """

    def has_responses(first: int, last: int) -> bool:
        return any(record["responses"] for record in fetch(_day_range(first, last)))

    today, tomorrow = days[-1], days[-1] + 1
    return (
        has_responses(days[0], tomorrow) and not has_responses(today, today) and not has_responses(tomorrow, tomorrow)
    )


def _day_range(first: int, last: int) -> dict[str, str]:
    """Return the parameters for a range of days, counted from 1970-01-01."""
    return {"date[start]": _date(first), "date[end]": _date(last)}


def _date(day: int) -> str:
    return timestamp_of_second(day * SECONDS_PER_DAY)[:DATE_LENGTH]
