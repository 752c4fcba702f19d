"""What all streams share: requests, records, the range of a sync and its bookmark."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, cast

import requests
from singer_sdk import SchemaDirectory, Tap
from singer_sdk.exceptions import ConfigValidationError, FatalAPIError, RetriableAPIError
from singer_sdk.helpers.conform import TypeConformanceLevel
from singer_sdk.helpers.types import Context
from singer_sdk.metrics import http_request_counter
from singer_sdk.singerlib.catalog import REPLICATION_FULL_TABLE
from typing_extensions import override

from tap_wootric import schemas
from tap_wootric.api.client import Client, with_retries
from tap_wootric.api.responses import AccessDeniedError, ApiUnavailableError, decode_response, redact, safe_message
from tap_wootric.messages import TargetClosedError
from tap_wootric.pagination.query import BEGINNING_OF_TIME
from tap_wootric.progress import Effort, Progress
from tap_wootric.records.timestamps import (
    SECOND_LENGTH,
    SECONDS_PER_DAY,
    normalize_timestamp,
    timestamp_of_second,
    unix_seconds,
)
from tap_wootric.records.transform import Record, RecordTransformer, Row
from tap_wootric.sdk import SdkStream, StreamMapError
from tap_wootric.settings import Settings

SCHEMAS: SchemaDirectory = SchemaDirectory(schemas)

_STREAM_ERRORS = (FatalAPIError, ConfigValidationError, StreamMapError)
"""Errors that concern one stream, apart from ApiUnavailableError. Any other error ends the sync."""

Fetch = Callable[[dict[str, Any]], list[Record]]
"""Returns the records in the response to a request with these parameters. Threads may call it."""


@dataclass(frozen=True, slots=True)
class StreamContext:
    """What the tap provides to its streams, on demand: `--discover` has neither credentials nor checked settings."""

    settings: Callable[[], Settings]
    client: Callable[[], Client]


@dataclass(frozen=True, slots=True)
class SyncRange:
    """What one sync of a stream reads.

    Attributes:
        start: The Unix second of the oldest update to read; before 1970 to read everything.
        end: The Unix second, by the server's clock, at which the sync starts.
        bookmark_limit: The bookmark never moves past this one. The next sync reads whatever lies behind it again. None
            if a sync leaves the bookmark alone.
    """

    start: int
    end: int
    bookmark_limit: str | None = None


class WootricStream(SdkStream):
    """A stream of the Wootric API. Without further code, it is read with one request, as a full table.

    A full-table sync lets the target drop the rows of earlier syncs once all rows have been emitted.

    Attributes:
        error: Why the last sync or test of the stream failed, if the other streams could still be read.
        sync_range: What the last sync read, if there was one.
        high_watermark: How far reading got: a normalized timestamp or a date; empty before the first row.
        progress: Of the last sync; None if it failed before its first request.
    """

    name: str
    path: str
    primary_keys: Sequence[str] = ("id",)
    replication_key: str | None = None

    schema: ClassVar[dict[str, Any]]
    STATE_MSG_FREQUENCY = 100  # Records: a killed sync repeats a few pages, and a STATE for two pages costs nothing.
    TYPE_CONFORMANCE_LEVEL = TypeConformanceLevel.NONE  # RecordTransformer does it, at a fraction of 17 us a record.

    def __init_subclass__(cls) -> None:
        """Load the schema that has the stream's name, as a plain attribute: the SDK looks it up for each record."""
        super().__init_subclass__()
        if hasattr(cls, "name"):
            cls.schema = dict(SCHEMAS.get_schema(cls.name))

    def __init__(self, tap: Tap, context: StreamContext) -> None:
        super().__init__(tap)
        self.error: Exception | None = None
        self._context = context
        self.sync_range: SyncRange | None = None
        self.high_watermark = ""
        self.progress: Progress | None = None

    @property
    def settings(self) -> Settings:
        """The settings of the tap."""
        return self._context.settings()

    @property
    def client(self) -> Client:
        """The client of the tap."""
        return self._context.client()

    @property
    def is_full_table(self) -> bool:
        """Whether a sync reads the entire table."""
        return self.replication_method == REPLICATION_FULL_TABLE

    @property
    def bookmark(self) -> str | None:
        """The bookmark in the state."""
        return cast("str | None", self.stream_state.get("replication_key_value"))

    # For subclasses to override

    @property
    def lookback_seconds(self) -> int:
        """How far the bookmark stays behind the start of a sync."""
        return 0

    def check_settings(self) -> None:
        """Raise a ConfigValidationError if a setting is missing that only this stream needs."""

    def sample_params(self) -> dict[str, Any]:
        """Return the parameters of a request for a row or a few."""
        return {}

    def read(self, fetch: Fetch, sync_range: SyncRange, progress: Progress) -> Iterable[Record]:  # noqa: ARG002
        """Yield the records of one sync, and keep `high_watermark` up to date.

        Args:
            fetch: Sends a request.
            sync_range: What to read.
            progress: To be told of rows, of the position in the range, and of a way to forecast the rest.
        """
        for record in fetch({}):
            progress.rows += 1
            yield record

    def rows(self, content: Any, params: Mapping[str, Any]) -> list[Row]:  # noqa: ARG002 - Streams may need them.
        """Return the rows in the JSON of a response.

        Args:
            content: The JSON.
            params: The parameters of the request.

        Raises:
            AttributeError, KeyError, TypeError: The JSON has another structure.
        """
        return cast("list[Row]", content)

    @staticmethod
    def bookmark_at(time: object) -> str:
        """Return the bookmark for a time in any form that `normalize_timestamp` accepts."""
        return f"{normalize_timestamp(time)[:SECOND_LENGTH]}Z"

    # A sync

    @override
    def get_records(self, context: Context | None) -> Iterable[Record]:
        """Yield the records of one sync.

        Raises:
            ConfigValidationError: A setting is missing that this stream needs.
            AccessDeniedError: The account may not read this stream.
            ApiUnavailableError: No stream can be read: the API refuses the credentials, or it cannot be reached.
            FatalAPIError: The API refuses a request, fails for minutes, or returns something that cannot be right.
        """
        self.check_settings()
        self.high_watermark = ""
        server_time = self.client.server_time()
        self.sync_range = self._range_at(server_time)
        self._pull_bookmark_back(self.sync_range)
        self.table_version = server_time if self.is_full_table else None
        yield from self._read(self.sync_range)
        self.activate_table_version()

    @override
    def on_error(self, error: Exception) -> None:
        """Write the state of what was emitted. Keep an error that only concerns this stream, for the tap's report."""
        if isinstance(error, TargetClosedError):  # Nobody would read the state.
            raise error
        self.write_state()
        self._keep_or_raise(error)
        self.log("%s. Other streams go on", self.error_line, level=logging.WARNING)

    def _keep_or_raise(self, error: Exception) -> None:
        """Keep an error that only concerns this stream, and raise any other. An earlier error is added to its text."""
        if isinstance(error, ApiUnavailableError) or not isinstance(error, _STREAM_ERRORS):
            raise error
        if self.error:
            error = FatalAPIError(f"{self._message(error)}. Besides, {self._message(self.error)}")
        self.error = error

    @property
    def error_line(self) -> str:
        """One line about the error that made the last sync or test of the stream fail; empty if there was none."""
        match self.error:
            case None:
                return ""
            case ConfigValidationError():  # It names the stream.
                return self._message(self.error)
            case _:
                return f"{self.name}: {self._message(self.error)}"

    def _message(self, error: Exception) -> str:
        """Return the text of an error of this stream, without the stream's name in front."""
        match error:
            case AccessDeniedError():
                return f"the account may not read it ({error}): deselect it, or ask Wootric for access"
            case ConfigValidationError():
                return "; ".join(error.errors)
            case _:
                return safe_message(error).removeprefix(f"{self.name}: ")

    def test(self) -> None:
        """Read a row with one request, apply the stream maps to it, and log that it worked.

        An error that only concerns this stream is kept for the tap's report.

        Raises:
            ApiUnavailableError: As with a sync.
        """
        try:
            self.check_settings()
            self.client.server_time()  # Fetches the token, whose errors are not those of the stream.
            sample = with_retries(self.name, self._fetch, self.client.retry_policy)(self.sample_params())[:1]
            for stream_map in self.stream_maps:
                for record in sample:
                    stream_map.transform(dict(record))
        except Exception as error:  # noqa: BLE001 - `_keep_or_raise` decides.
            self._keep_or_raise(error)
        else:
            self.log("%s: works, %s", self.name, "read 1 row" if sample else "but has no rows")

    def _range_at(self, server_time: int) -> SyncRange:
        """Return the range of a sync that starts at a Unix second.

        Raises:
            FatalAPIError: The bookmark is in the future.
        """
        start_date = BEGINNING_OF_TIME if self.settings.start_date is None else self.settings.start_date
        if self.is_full_table:
            return SyncRange(start_date, server_time)
        limit = max(0, server_time - self.lookback_seconds)
        start = BEGINNING_OF_TIME
        if self.bookmark:
            if self.bookmark > self.bookmark_at(server_time + SECONDS_PER_DAY):
                raise FatalAPIError(
                    f"{self.name}: the bookmark {self.bookmark} is in the future; correct the state, or omit it to "
                    "read everything again"
                )
            start = unix_seconds(normalize_timestamp(self.bookmark))
        return SyncRange(max(start_date, min(start, limit)), server_time, self.bookmark_at(limit))

    def _pull_bookmark_back(self, sync_range: SyncRange) -> None:
        """Lower a bookmark that is past the limit: another tap, another clock or a smaller lookback window set it."""
        if sync_range.bookmark_limit and self.bookmark and self.bookmark > sync_range.bookmark_limit:
            self.stream_state["replication_key_value"] = sync_range.bookmark_limit

    def move_bookmark(self) -> None:
        """Move the bookmark to the high watermark, but never past the limit, and never back."""
        limit = self.sync_range.bookmark_limit if self.sync_range else None
        if not limit or not self.replication_key or not self.high_watermark:
            return
        bookmark = min(self.bookmark_at(self.high_watermark), limit)
        if not self.bookmark or bookmark > self.bookmark:
            self.state_manager.increment_state({self.replication_key: bookmark}, replication_key=self.replication_key)

    # Requests

    def _read(self, sync_range: SyncRange) -> Iterable[Record]:
        """Yield what `read` yields, with progress and metrics."""
        self.progress = progress = Progress(
            name=self.name,
            logger=self.logger,
            start=sync_range.start,
            end=sync_range.end,
            effort=Effort(lambda: self.client.requests_sent, lambda: self.client.throttled_seconds),
            max_requests_per_second=lambda: self.client.max_requests_per_second(self.path),
        )
        start = f"{timestamp_of_second(sync_range.start)}Z" if sync_range.start > 0 else "the first row"
        mode = "full-table sync" if self.is_full_table else f"incremental sync from {start}"
        self.log("%s: %s", self.name, mode)
        with http_request_counter(self.name, endpoint=self.path) as requests_sent:
            fetch_with_retries, lock = with_retries(self.name, self._fetch, self.client.retry_policy), threading.Lock()

            def fetch(params: dict[str, Any]) -> list[Record]:
                with lock:
                    requests_sent.increment()
                return fetch_with_retries(params)

            yield from self.read(fetch, sync_range, progress)
        progress.done(self.high_watermark)

    def _fetch(self, params: dict[str, Any]) -> list[Record]:
        """Send one request, without retries."""
        records = self.records(self.client.get(self.path, params), params)
        for key in self.primary_keys:
            if any(record.get(key) is None for record in records):
                raise FatalAPIError(f"{self.name}: {self.path} returned a row without a usable {key}, the primary key")
        return records

    def records(self, response: requests.Response, params: Mapping[str, Any]) -> list[Record]:
        """Return the records in the response to a request with some parameters.

        Raises:
            FatalAPIError, RetriableAPIError: As with `decode_response`; or the response has another structure.
        """
        return [self.transformer(row) for row in self.checked_rows(decode_response(response, self.name), params)]

    def checked_rows(self, content: Any, params: Mapping[str, Any]) -> list[Row]:
        """Return what `rows` does.

        Raises:
            RetriableAPIError: The JSON has another structure.
        """
        rows = None
        with suppress(AttributeError, KeyError, TypeError):
            rows = self.rows(content, params)
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise RetriableAPIError(f"The response of {self.path} does not have the structure of {self.name}")
        return rows

    @cached_property
    def transformer(self) -> RecordTransformer:
        """Makes records of rows."""
        return RecordTransformer(self.schema, self.effective_schema, self._log_unexpected_field)

    def _log_unexpected_field(self, field: str, is_in_schema: bool) -> None:  # noqa: FBT001 - A callback's argument.
        reason = "has a value of an unexpected type" if is_in_schema else "is not in the schema"
        self.log(
            "%s: the field %s %s; it goes into extra_fields", self.name, redact(field), reason, level=logging.WARNING
        )
