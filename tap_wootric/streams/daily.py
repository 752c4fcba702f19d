"""Totals that the API only returns for a range of days, read as one row for each day."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

from singer_sdk.exceptions import ConfigValidationError, FatalAPIError
from typing_extensions import override

from tap_wootric.progress import Progress, RequestsAfter
from tap_wootric.records.timestamps import DATE_LENGTH, SECONDS_PER_DAY, normalize_timestamp, timestamp_of_second
from tap_wootric.records.transform import Record, Row
from tap_wootric.streams.base import SyncRange, WootricStream

_LATE_RESPONSE_DAYS = 7
"""Most people who respond, or open an email, do so within this time (our estimate; nothing is documented)."""


class DailyStream(WootricStream):
    """Daily totals, with one request for each day from the bookmark or `start_date` to today (UTC).

    Days follow the account's time zone (documented). A day that has begun there but not in UTC comes with the next
    sync. The bookmark stays behind, because late responses and opened emails change the totals.

    Attributes:
        range_params: The parameters that hold the first and the last day of a range.
        needed_fields: Totals, at least one of which is above zero if anything happened in a range.
    """

    primary_keys = ("date",)
    replication_key = "date"
    range_params: ClassVar[tuple[str, str]]

    @abstractmethod
    def totals(self, content: Any) -> Row:
        """Return the totals in the JSON of a response.

        Raises:
            AttributeError, KeyError, TypeError: The JSON has another structure.
        """

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
        if not has_bookmark and self.tap.settings.start_date is None:
            raise ConfigValidationError(
                "No start_date", errors=[f"start_date is not set: {self.name} needs it as its first day"]
            )

    @staticmethod
    @override
    def bookmark_at(time: object) -> str:
        """Return the date of a time in any form that `normalize_timestamp` accepts."""
        return normalize_timestamp(time)[:DATE_LENGTH]

    @override
    def sample_params(self) -> dict[str, Any]:
        """Return the parameters of a request for today's totals."""
        today = self.tap.client.rate_limiter.clock.earlier() // SECONDS_PER_DAY
        return self.day_range(today, today)

    @override
    def forecast(self, second: int) -> RequestsAfter | None:
        """Return the number of days that are left: each takes one request."""
        last_day = self._days(self.sync_range)[-1] if self.sync_range else 0
        return lambda position: last_day - position // SECONDS_PER_DAY

    @override
    def read(self, sync_range: SyncRange, progress: Progress) -> Iterable[Record]:
        """Yield a row for each day in the range.

        It is not documented whether a range of days includes its last day. Activity in a range of a single day shows
        that it does, so no row is emitted before there is some. If no single day has activity but all days together
        have some, ranges exclude their last day: then the days are fetched again with ranges of two days.

        Raises:
            FatalAPIError: A full table has no day in its range, so the target would drop all rows.
        """
        days = self._days(sync_range)
        if not days:
            if self.is_full_table:
                today = _date(sync_range.now // SECONDS_PER_DAY)
                raise FatalAPIError(f"{self.name}: start_date is after today, which is {today}")
            return
        pending, includes_last_day = list[Record](), False
        for record in self._totals(days, extra_days=0):
            progress.reached(f"{record['date']}T00:00:00Z")
            pending.append(record)
            includes_last_day = includes_last_day or self._has_activity(record)
            if includes_last_day:
                yield from self._emitted(pending)
                pending = []
        if pending and self._excludes_last_day(days):
            yield from self._emitted(self._totals(days, extra_days=1))
        else:
            yield from self._emitted(pending)

    @staticmethod
    def _days(sync_range: SyncRange) -> range:
        """Return the days of a range, counted from 1970-01-01. Today is the last one, by the clock that is behind."""
        return range(sync_range.start // SECONDS_PER_DAY, sync_range.now // SECONDS_PER_DAY + 1)

    def _totals(self, days: range, extra_days: int) -> Iterator[Record]:
        """Yield the totals of one range for each day: from that day up to so many days later."""
        for day in days:
            yield from self.records_with_retries(self.day_range(day, day + extra_days))

    def _emitted(self, records: Iterable[Record]) -> Iterator[Record]:
        """Yield records, and keep the position up to date."""
        for record in records:
            self.position = record["date"]
            yield record

    @override
    def rows(self, content: Any, params: Mapping[str, Any]) -> list[Row]:
        """Return the totals in the JSON of a response as a row, with the first day of their range."""
        return [{**self.totals(content), "date": params[self.range_params[0]]}]

    def _excludes_last_day(self, days: range) -> bool:
        """Return whether ranges exclude their last day, given that no single day has activity.

        Today is fetched again, because something may have happened meanwhile. So is tomorrow, which may have begun in
        the account's time zone.
        """

        def is_active(first: int, last: int) -> bool:
            return any(self._has_activity(record) for record in self.records_with_retries(self.day_range(first, last)))

        today, tomorrow = days[-1], days[-1] + 1
        return is_active(days[0], tomorrow) and not is_active(today, today) and not is_active(tomorrow, tomorrow)

    def _has_activity(self, record: Record) -> bool:
        return any(record.get(name) for name in self.needed_fields)

    def day_range(self, first: int, last: int) -> dict[str, str]:
        """Return the parameters for a range of days, counted from 1970-01-01."""
        return dict(zip(self.range_params, (_date(first), _date(last)), strict=True))


def _date(day: int) -> str:
    return timestamp_of_second(day * SECONDS_PER_DAY)[:DATE_LENGTH]
