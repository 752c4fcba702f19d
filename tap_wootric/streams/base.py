"""What all streams share: requests, records, the range of a sync and its bookmark."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, cast

from singer_sdk import SchemaDirectory
from singer_sdk.exceptions import ConfigValidationError, FatalAPIError, RetriableAPIError
from singer_sdk.helpers.conform import TypeConformanceLevel
from singer_sdk.helpers.types import Context
from singer_sdk.singerlib.catalog import REPLICATION_FULL_TABLE
from typing_extensions import override

from tap_wootric import schemas
from tap_wootric.api.client import Client
from tap_wootric.api.redact import redact_line
from tap_wootric.api.responses import AccessDeniedError, ApiUnavailableError, decode_response, safe_message
from tap_wootric.messages import MessageWriter
from tap_wootric.pagination.query import BEGINNING_OF_TIME
from tap_wootric.progress import Progress, RequestsAfter
from tap_wootric.records.timestamps import (
    SECOND_LENGTH,
    SECONDS_PER_DAY,
    normalize_timestamp,
    timestamp_of_second,
    unix_seconds,
)
from tap_wootric.records.transform import EXTRA_FIELDS, Record, RecordTransformer, Row
from tap_wootric.sdk import SdkStream, SdkTap, StreamMapError
from tap_wootric.settings import Settings

_SCHEMAS = SchemaDirectory(schemas)

_MAX_FIELD_NAME_LENGTH = 60
_MAX_LOGGED_FIELDS = 50
"""Unexpected fields of a stream that the log names."""
_EXTRA_FIELDS_SCHEMA = {
    "type": ["object", "null"],
    "description": "Fields that this schema does not list, and values that do not fit its types, as the API sent them. "
    "Null if there are none.",
    "additionalProperties": True,
}

_INCREMENTAL_VERSION = 1
"""The table version of incremental records, lower than that of any full table, which is a Unix second.

After a full table, targets drop rows of lower versions; in most, rows without a version would stay, as SQL's NULL is
never lower. Rows that are loaded incrementally after a full table are safe: targets only compare versions when the next
full table ends, and by then, that has given its version to all rows that exist. The version is constant, because
full-table syncs keep a state of their own.
"""

_STREAM_ERRORS = (FatalAPIError, ConfigValidationError, StreamMapError)
"""Errors that concern one stream, apart from ApiUnavailableError. Any other error ends the sync."""


@dataclass(frozen=True, slots=True)
class SyncRange:
    """What one sync of a stream reads. All times are Unix seconds.

    Attributes:
        start: When the oldest row to read was updated or created; before 1970 to read everything.
        now: When the sync starts, by the clock that is behind.
        until: The end of the range, which is not part of it: the second after the sync starts, by the clock that is
            ahead.
    """

    start: int
    now: int
    until: int


class ConnectedTap(SdkTap):
    """A tap whose streams share its settings and its client. These are made on demand: `--discover` needs neither."""

    message_writer: MessageWriter

    @cached_property
    def settings(self) -> Settings:
        """The settings. They are checked when the tap is created, unless `validate_config` is off."""
        return Settings.from_config(self.config, default_user_agent=f"{self.name}/{self.plugin_version}")

    @cached_property
    def client(self) -> Client:
        """Sends all requests."""
        return Client(self.settings, check=self.message_writer.raise_if_terminated)


class WootricStream(SdkStream):
    """A stream of the Wootric API. Without further code, it is read with one request, as a full table.

    A full-table sync lets the target drop the rows of earlier syncs once all rows have been emitted.

    Attributes:
        tap: The tap.
        error: Why the last sync or test of the stream failed, if the other streams could still be read.
        sync_range: What the last sync read, if there was one.
        position: How far reading got: everything before this normalized timestamp, or date, has been emitted. Empty
            before the first row.
        progress: Of the last sync; None if it failed before its first request.
    """

    name: str
    path: str
    primary_keys: tuple[str, ...] = ("id",)
    replication_key: str | None = None
    needed_fields: ClassVar[Sequence[str]] = ()
    """Fields that reading needs even if the catalog deselects them."""

    schema: ClassVar[dict[str, Any]]
    STATE_MSG_FREQUENCY = 100  # Records: a killed sync repeats a few pages, and a STATE for two pages costs nothing.
    TYPE_CONFORMANCE_LEVEL = TypeConformanceLevel.NONE  # RecordTransformer does it; the SDK takes 17 us a record.

    def __init_subclass__(cls) -> None:
        """Load the schema named after the stream, and add `extra_fields`: as an attribute, read for each record."""
        super().__init_subclass__()
        if hasattr(cls, "name"):
            schema = _SCHEMAS.get_schema(cls.name)
            properties = {
                name: _SCHEMAS.get_schema(field["$ref"]) if "$ref" in field else field
                for name, field in schema["properties"].items()
            }
            cls.schema = {**schema, "properties": {**properties, EXTRA_FIELDS: _EXTRA_FIELDS_SCHEMA}}

    def __init__(self, tap: ConnectedTap) -> None:
        super().__init__(tap)
        self.tap = tap
        self.error: Exception | None = None
        self.sync_range: SyncRange | None = None
        self.position = ""
        self.progress: Progress | None = None
        self._unexpected_fields = 0

    @property
    def is_full_table(self) -> bool:
        """Whether a sync reads the entire table."""
        return self.replication_method == REPLICATION_FULL_TABLE

    @property
    def bookmark(self) -> str | None:
        """The bookmark in the state."""
        return cast("str | None", self.stream_state.get("replication_key_value"))

    @property
    def start_date(self) -> int:
        """The Unix second of the setting `start_date`, or `BEGINNING_OF_TIME`."""
        return BEGINNING_OF_TIME if self.tap.settings.start_date is None else self.tap.settings.start_date

    # For subclasses to override

    @property
    def lookback_seconds(self) -> int:
        """How far the bookmark stays behind the start of a sync."""
        return 0

    def check_settings(self) -> None:
        """Raise a ConfigValidationError if a setting that only this stream needs is missing."""

    def sample_params(self) -> dict[str, Any]:
        """Return the parameters of a request for one row or a few."""
        return {}

    def rows(self, content: Any, params: Mapping[str, Any]) -> list[Row]:  # noqa: ARG002 - Streams may need them.
        """Return the rows in the JSON of a response.

        Args:
            content: The JSON.
            params: The parameters of the request.

        Raises:
            AttributeError, KeyError, TypeError: The JSON has another structure.
        """
        return cast("list[Row]", content)

    def read(self, sync_range: SyncRange, progress: Progress) -> Iterable[Record]:  # noqa: ARG002
        """Yield the records of one sync, and keep `position` up to date.

        Args:
            sync_range: What to read.
            progress: To be told of the position in the range.
        """
        return self.records_with_retries({})

    def forecast(self, second: int) -> RequestsAfter | None:  # noqa: ARG002
        """Return an estimate of the rest of a sync from a Unix second on, or None if there is none; see `Progress`."""
        return None

    def check_completeness(self) -> None:
        """Raise a FatalAPIError if the last sync was read to its end, but rows may be missing."""

    @staticmethod
    def bookmark_at(time: object) -> str:
        """Return the bookmark for a time in any form that `normalize_timestamp` accepts."""
        return f"{normalize_timestamp(time)[:SECOND_LENGTH]}Z"

    # From a response to records

    def records(self, params: dict[str, Any]) -> list[Record]:
        """Send one request, without retries, and return the records in its response.

        Raises:
            FatalAPIError, RetriableAPIError: As with `Client.request` and `decode_response`; or the response has
                another structure, or a row without a primary key.
        """
        content = decode_response(self.tap.client.request(self.path, params), self.name)
        rows = None
        with suppress(AttributeError, KeyError, TypeError):
            rows = self.rows(content, params)
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise RetriableAPIError(f"The response from {self.path} does not have the structure of {self.name}")
        records = [self.transformer(row) for row in rows]
        for key in self.primary_keys:
            if any(record.get(key) is None for record in records):
                raise FatalAPIError(f"{self.name}: {self.path} returned a row without a usable {key}, the primary key")
        return records

    def records_with_retries(self, params: dict[str, Any]) -> list[Record]:
        """As `records`, but repeats a request after a transient error.

        Raises:
            ApiUnavailableError, FatalAPIError: As with `Client.with_retries`.
        """
        return self.tap.client.with_retries(self.name, lambda: self.records(params))

    @cached_property
    def transformer(self) -> RecordTransformer:
        """Makes records of rows."""
        needed = {name: self.schema["properties"][name] for name in self.needed_fields}
        effective = {**self.effective_schema, "properties": {**self.effective_schema["properties"], **needed}}
        flattened_levels = self.config.get("flattening_max_depth", 0) if self.config.get("flattening_enabled") else 0
        return RecordTransformer(self.schema, effective, self._log_unexpected_field, flattened_levels)

    def _log_unexpected_field(self, field: str, is_in_schema: bool) -> None:  # noqa: FBT001 - A callback's argument.
        reason = "has a value of an unexpected type" if is_in_schema else "is not in the schema"
        name = redact_line(field, _MAX_FIELD_NAME_LENGTH)
        self._unexpected_fields += 1
        if self._unexpected_fields <= _MAX_LOGGED_FIELDS:
            self.logger.warning("%s: the field %s %s; it goes into extra_fields", self.name, name, reason)
        elif self._unexpected_fields == _MAX_LOGGED_FIELDS + 1:
            self.logger.warning("%s: more such fields go into extra_fields; they are not logged", self.name)

    # A sync

    @override
    def get_records(self, context: Context | None) -> Iterable[Record]:
        """Yield the records of one sync.

        Raises:
            ConfigValidationError: A setting that this stream needs is missing.
            AccessDeniedError: The account may not read this stream.
            ApiUnavailableError: No stream can be read: the API refuses the credentials, or it cannot be reached.
            FatalAPIError: The API refuses a request, fails for minutes, or returns something that cannot be right; or
                rows may be missing.
        """
        self.check_settings()
        self.position = ""
        self.tap.client.authenticate()  # Its response tells the server's time.
        clock = self.tap.client.rate_limiter.clock
        self.sync_range = sync_range = self.range_from(clock.earlier(), clock.later())
        if self.bookmark and not self.is_full_table:
            # Another tap, another clock or a smaller lookback window may have set it too late.
            self.stream_state["replication_key_value"] = min(self.bookmark, self._latest_bookmark(sync_range))
        # By this machine's clock, as the SDK does it: a `Date` ahead of time would make later versions older.
        self.set_table_version(int(time.time()) if self.is_full_table else _INCREMENTAL_VERSION)
        start = f"{timestamp_of_second(sync_range.start)}Z" if sync_range.start > 0 else "the first row"
        mode = "full-table sync" if self.is_full_table else f"incremental sync from {start}"
        self.logger.info("%s: %s", self.name, mode)
        self.progress = Progress(
            name=self.name,
            logger=self.logger,
            start=sync_range.start,
            end=sync_range.now,
            rate_limiter=self.tap.client.rate_limiter,
            forecast=self.forecast,
        )
        not_in_schema = {*self.needed_fields}.difference(self.effective_schema["properties"])
        for record in self.read(sync_range, self.progress):
            self.progress.rows += 1
            for name in not_in_schema:
                del record[name]
            yield record
        self.progress.done(self.position)
        if self.progress.rows:  # The next sync reads the range of an empty list again, in case that was a mistake.
            self.position = f"{timestamp_of_second(sync_range.now)}Z"
        self.move_bookmark()
        self.check_completeness()
        if self.is_full_table:
            self.activate_table_version()

    def range_from(self, now: int, latest: int) -> SyncRange:
        """Return the range of a sync that starts now.

        Args:
            now: The Unix second by the clock that is behind.
            latest: The Unix second by the clock that is ahead.

        Raises:
            FatalAPIError: The bookmark is in the future.
        """
        bookmark = None if self.is_full_table else self.bookmark
        if not bookmark:
            return SyncRange(self.start_date, now, latest + 1)
        if bookmark > self.bookmark_at(latest + SECONDS_PER_DAY):
            raise FatalAPIError(
                f"{self.name}: the bookmark {bookmark} is in the future; correct the state, or omit it to read "
                "everything again"
            )
        start = min(unix_seconds(normalize_timestamp(bookmark)), max(0, now - self.lookback_seconds))
        return SyncRange(max(self.start_date, start), now, latest + 1)

    def _latest_bookmark(self, sync_range: SyncRange) -> str:
        """Return the bookmark of a sync that is complete. The next sync reads what lies after it again."""
        return self.bookmark_at(max(0, sync_range.now - self.lookback_seconds))

    def move_bookmark(self) -> None:
        """Move the bookmark to the position, but never past the limit, and never back."""
        if not self.sync_range or self.is_full_table or not self.replication_key or not self.position:
            return
        bookmark = min(self.bookmark_at(self.position), self._latest_bookmark(self.sync_range))
        if not self.bookmark or bookmark > self.bookmark:
            self.state_manager.increment_state({self.replication_key: bookmark}, replication_key=self.replication_key)

    # Tests and errors

    def test(self) -> None:
        """Read a row with one request, apply the stream maps to it, and log that it worked.

        An error that only concerns this stream is kept for the tap's report.

        Raises:
            ApiUnavailableError: As with a sync.
        """
        try:
            self.check_settings()
            sample = self.records_with_retries(self.sample_params())[:1]
            for stream_map in self.stream_maps:
                for record in sample:
                    stream_map.transform(dict(record))
        except Exception as error:  # noqa: BLE001 - `_keep_or_raise` decides.
            self._keep_or_raise(error)
        else:
            self.logger.info("%s: works, %s", self.name, "read 1 row" if sample else "but has no rows")

    @override
    def on_error(self, error: Exception) -> None:
        """Write the state of what was emitted. Keep an error that only concerns this stream, for the tap's report."""
        self.write_state()
        self._keep_or_raise(error)
        self.logger.warning("%s. Continuing with the other streams", self.error_line)

    def _keep_or_raise(self, error: Exception) -> None:
        """Keep an error that only concerns this stream, and raise any other."""
        if isinstance(error, ApiUnavailableError) or not isinstance(error, _STREAM_ERRORS):
            raise error
        self.error = error

    @property
    def error_line(self) -> str:
        """One line about the error that made the last sync or test of the stream fail; empty if there was none."""
        match self.error:
            case None:
                return ""
            case ConfigValidationError(errors=lines):  # They name the stream.
                return "; ".join(lines)
            case AccessDeniedError():
                return f"{self.name}: the account cannot read it ({self.error}): deselect it, or ask Wootric for access"
            case _:
                return f"{self.name}: {safe_message(self.error).removeprefix(f'{self.name}: ')}"
