"""Lists that change while they are read."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import requests
from singer_sdk.exceptions import FatalAPIError, RetriableAPIError
from typing_extensions import override

from tap_wootric.pagination.forecast import forecast
from tap_wootric.pagination.keyset import KeysetReader
from tap_wootric.pagination.query import (
    BEGINNING_OF_TIME,
    END_OF_TIME,
    TIME_KEYS,
    Query,
    SortKey,
    TimeKey,
    TimeRange,
    UnprovenSecond,
    WrongAnswerError,
)
from tap_wootric.progress import Progress, RequestsAfter, counted
from tap_wootric.records.timestamps import SECONDS_PER_DAY, timestamp_of_second, unix_seconds
from tap_wootric.records.transform import Record
from tap_wootric.streams.base import SyncRange, WootricStream

FIRST_SYNC = "is_first_sync"
"""Marks the bookmark of a first sync that has not been completed."""


class ListStream(WootricStream):
    """A list of the Wootric API, read in the order that `pagination` gives, which loses no rows.

    End users are read by update time, from the bookmark to the start of the sync. The API cannot filter responses and
    declines by update time, so these are read by creation time: their bookmark says that everything created before it
    has been read, and the first sync of a day reads the last days again, for late changes.

    A full-table sync reads by creation time, which no update changes, so that it misses no row that exists.
    """

    replication_key = "updated_at"
    needed_fields = TIME_KEYS

    sort_keys: tuple[SortKey, ...] = ("created_at",)
    """The keys by which the API sorts the list. It filters by those that are times."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._unproven: list[UnprovenSecond] = []
        """The seconds that may lack rows, and that the next sync does not read again."""
        self._reader: KeysetReader | None = None
        self._is_first_sync = False
        """Whether this sync is the first, or resumes an interrupted first sync."""

    @property
    @override
    def lookback_seconds(self) -> int:
        """How far the bookmark stays behind the start of a sync.

        The API sets a row's time before its transaction commits, so rows can appear behind those already read.
        """
        return self.tap.settings.lookback_seconds

    @override
    def sample_params(self) -> dict[str, Any]:
        """Return the parameters of a request for one row."""
        return parameters(Query("created_at", size=1, sort_keys=self.sort_keys))

    # The range

    @override
    def range_from(self, now: int, latest: int) -> SyncRange:
        """Return the range of a sync that starts now. It begins earlier if it rechecks the last days.

        Raises:
            FatalAPIError: The bookmark is in the future.
        """
        sync_range = super().range_from(now, latest)
        if not self._rechecks(now):
            return sync_range
        start = min(sync_range.start, max(0, now - self.tap.settings.recheck_days * SECONDS_PER_DAY))
        return replace(sync_range, start=max(self.start_date, start))

    def _rechecks(self, now: int) -> bool:
        """Return whether a sync that starts at a Unix second is to read the last days again.

        That is the first one on a day (UTC): the last complete sync that found rows started at the bookmark plus the
        lookback window. The rest of an interrupted first sync rechecks nothing: the same sync has read the rows before
        its bookmark.
        """
        if self.query_key == "updated_at" or self.is_full_table or not self.bookmark:
            return False
        last_sync = unix_seconds(self.bookmark) + self.lookback_seconds
        is_first_on_day = last_sync // SECONDS_PER_DAY < now // SECONDS_PER_DAY
        return is_first_on_day and FIRST_SYNC not in self.stream_state and self.tap.settings.recheck_days > 0

    @property
    def query_key(self) -> TimeKey:
        """The time that an incremental sync goes by."""
        return "updated_at" if "updated_at" in self.sort_keys else "created_at"

    def _query(self, sync_range: SyncRange) -> Query:
        """Return a query for the rows of a sync."""
        query, key = Query("created_at", sort_keys=self.sort_keys), self.query_key
        if self.is_full_table:  # Rows with times in the future belong to it, too.
            return query.with_range(key, TimeRange(sync_range.start))
        return replace(query, sort_key=key).with_range(key, TimeRange(sync_range.start, sync_range.until))

    # Reading

    @override
    def read(self, sync_range: SyncRange, progress: Progress) -> Iterable[Record]:
        """Yield the rows in the range, in the order of their update or creation times.

        Raises:
            FatalAPIError: A page does not answer its query.
        """
        query, self._unproven = self._query(sync_range), []
        bookmark = "" if self.is_full_table else self.bookmark or ""
        self._is_first_sync = not self.is_full_table and (not bookmark or FIRST_SYNC in self.stream_state)
        settled_until = sync_range.now - self.lookback_seconds

        def fetch(query: Query) -> list[Record]:
            progress.reached(self.position)
            return self.records_with_retries(parameters(query))

        note_unproven = partial(self._note_unproven, read_until=bookmark, settled_until=settled_until)
        self._reader = KeysetReader(fetch, note_unproven, settled_until)
        try:
            for record in self._reader.read(query, may_be_empty=not self.is_full_table):
                self.position = record.get(query.sort_key) or self.position
                yield record
        except WrongAnswerError as error:
            raise FatalAPIError(f"{self.name}: {error}") from error
        self._is_first_sync = False
        if progress.rows and bookmark and sync_range.start < unix_seconds(bookmark):
            self.logger.info(
                "%s: read the last %s again, because the API cannot say which rows have changed",
                self.name,
                counted(self.tap.settings.recheck_days, "day"),
            )

    @override
    def move_bookmark(self) -> None:
        """Move the bookmark to the position, and mark it as that of a first sync until this is complete."""
        super().move_bookmark()
        if self.bookmark and self._is_first_sync:
            self.stream_state[FIRST_SYNC] = True
        elif self.sync_range and not self.is_full_table:
            self.stream_state.pop(FIRST_SYNC, None)

    def _note_unproven(self, second: UnprovenSecond, read_until: str, settled_until: int) -> None:
        """Log that a second could not be proven complete. It is an error unless another sync has read it, or will."""
        time = second.query.range_of(self.query_key).gte
        if not self.is_full_table and time >= settled_until:
            consequence = "The next sync reads this second again"
        elif f"{timestamp_of_second(time)}Z" < read_until:
            consequence = "It lies before the bookmark, and the next recheck reads it again"
        else:
            self._unproven.append(second)
            consequence = "The rest is still read, but the stream will fail at its end"
        # Now, not at the end: a sync may be killed before that, and the next one may start after this second.
        self.logger.warning("%s: %s. %s", self.name, second, consequence)

    @override
    def check_completeness(self) -> None:
        """Raise a FatalAPIError if seconds could not be proven complete."""
        if not self._unproven:
            return
        number = len(self._unproven)
        others = f" (1 of {number} such seconds; the warnings name the others)" if number > 1 else ""
        if self.is_full_table:
            advice = "The target keeps the rows of earlier syncs"
        else:
            advice = f"The next sync continues after {'that second' if number == 1 else 'those seconds'}"
        raise FatalAPIError(f"{self.name}: {self._unproven[0]}{others}. {advice}")

    @override
    def forecast(self, second: int) -> RequestsAfter | None:
        """Return an estimate of the rest of a sync from a Unix second on, or None."""
        if not self.sync_range or not self._reader:
            return None
        query = self._query(self.sync_range)
        rest = query.with_range(query.time_key, TimeRange(min(second, self.sync_range.now), self.sync_range.now + 1))
        page_rows = self._reader.largest_page
        # No retries and no errors: a sync does not need an estimate, and meets any lasting problem itself.
        with suppress(FatalAPIError, RetriableAPIError, WrongAnswerError, requests.RequestException):
            estimate = forecast(lambda sample: self.records(parameters(sample)), rest, page_rows)
            return lambda position: estimate(position) / page_rows
        return None


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
    if query.page > 1:
        params["page"] = query.page
    return params
