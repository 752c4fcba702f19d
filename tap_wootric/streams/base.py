"""What all streams are: records from the answers of the API, and a bookmark."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, cast

import requests
from singer_sdk import RESTStream, SchemaDirectory
from singer_sdk.exceptions import FatalAPIError, RetriableAPIError
from singer_sdk.helpers.conform import TypeConformanceLevel
from singer_sdk.singerlib import StateMessage
from singer_sdk.singerlib.catalog import REPLICATION_FULL_TABLE

from tap_wootric import schemas
from tap_wootric.api.client import with_retries
from tap_wootric.api.responses import AccessDeniedError, decode_response, redact
from tap_wootric.pagination.query import BEGINNING_OF_TIME
from tap_wootric.progress import Progress
from tap_wootric.records.timestamps import SECOND_LENGTH, SECONDS_PER_DAY, normalize_timestamp, unix_seconds
from tap_wootric.records.transform import Record, RecordTransformer, Row

if TYPE_CHECKING:
    from singer_sdk.helpers.types import Context

    from tap_wootric.tap import TapWootric

SCHEMAS: SchemaDirectory = SchemaDirectory(schemas)

Fetch = Callable[[dict[str, Any]], list[Record]]
"""Returns the records of the answer to a request with these parameters. Threads may call it."""


class WootricStream(RESTStream[Any]):
    """What all streams are. One that is no more than this is read by one request, as a whole.

    FULL_TABLE lets the target drop the rows of earlier syncs once all rows are there.
    """

    name: str
    primary_keys: Sequence[str] = ("id",)
    replication_key: str | None = None
    is_sorted = True  # Or the SDK keeps progress markers instead of a bookmark.

    schema: ClassVar[dict[str, Any]]
    STATE_MSG_FREQUENCY = 100  # Records. A sync that is killed costs a few pages, and one STATE for two pages nothing.
    TYPE_CONFORMANCE_LEVEL = TypeConformanceLevel.NONE  # Rows are brought to their schema in `rows.py`.

    def __init_subclass__(cls) -> None:
        """Give a stream the schema of its name: as a plain attribute, which the SDK looks up for each record."""
        super().__init_subclass__()
        if hasattr(cls, "name"):
            cls.schema = dict(SCHEMAS.get_schema(cls.name))

    def __init__(self, tap: TapWootric) -> None:
        super().__init__(tap)
        self.tap = tap
        self.high_watermark = ""
        """How far the reading got: a normalized timestamp, or a date; empty before the first row."""
        self._bookmark_limit = ""

    # What to read

    def check_settings(self) -> None:
        """Raise a ConfigValidationError where a setting is missing that only this stream needs."""

    def read(self, ask: Fetch, since: int, start: int, progress: Progress) -> Iterable[Record]:  # noqa: ARG002
        """Yield the rows of one sync, and keep `high_watermark` up with them.

        Args:
            ask: Asks the API.
            since: The Unix second that the bookmark stands at, or `start_date`; before 1970 if there is neither.
            start: The Unix second that the sync starts at.
            progress: To be told how far the reading is.
        """
        for record in ask({}):
            progress.rows += 1
            yield record

    def rows(self, answer: Any, params: Mapping[str, Any]) -> list[Row]:  # noqa: ARG002 - Streams may need them.
        """Return the rows in an answer to a request with some parameters.

        Raises:
            AttributeError, KeyError, TypeError: The answer is of another form.
        """
        return cast("list[Row]", answer)

    def get_records(self, context: Context | None) -> Iterable[Record]:  # noqa: ARG002 - There are no child streams.
        """Yield the rows of one sync.

        Raises:
            ConfigValidationError: A setting is missing that this stream needs.
            AccessDeniedError: The account may not read this stream.
            FatalAPIError: The API refuses a request, kept failing for minutes, or gives answers that cannot be right.
        """
        self.check_settings()
        self.high_watermark = ""
        try:
            start = self.tap.client.server_time()
            since = self._since(start)
            self._stream_version = start if self.is_full else None
            with self.get_http_request_counter() as requests_made, Progress(self, since, start) as progress:
                page, counting = with_retries(self.name, self._page), threading.Lock()

                def ask(params: dict[str, Any]) -> list[Record]:
                    with counting:
                        requests_made.increment()
                        progress.requests += 1
                    return page(params)

                yield from self.read(ask, since, start, progress)
        except Exception:
            self._write_state_message()  # The SDK itself writes none where a stream fails.
            raise
        if self._stream_version:
            self._write_activate_version_message(self._stream_version)

    def sync(self, context: Context | None = None) -> None:  # type: ignore[misc]
        """Sync the stream, or have the tap know that the account may not read it, which is no trouble of the others.

        To the SDK this method is final, and one stream that fails ends the sync of all. `get_records` raises all the
        same, for those who call it from Python.
        """
        try:
            super().sync(context)
        except AccessDeniedError as error:
            self.log("%s is left out: %s", self.name, error, level=logging.WARNING)
            self.tap.left_out[self.name] = str(error)

    def _since(self, start: int) -> int:
        """Return the second, in Unix seconds, of the oldest update that the sync is to bring."""
        if self.is_full:
            return self.start_date
        bookmark_limit = max(0, start - self.lookback)
        self._bookmark_limit = self.bookmark_at(bookmark_limit)
        bookmark = self.stream_state.get("replication_key_value")
        since = max(self.start_date, unix_seconds(normalize_timestamp(bookmark)) if bookmark else BEGINNING_OF_TIME)
        if bookmark and bookmark > self.bookmark_at(start + SECONDS_PER_DAY):
            raise FatalAPIError(
                f"The bookmark of {self.name}, {bookmark}, lies in the future: correct the state, or leave it out "
                "to read everything again"
            )
        if bookmark and bookmark > self._bookmark_limit:
            # It comes from another tap, another clock or a smaller lookback_window.
            self.stream_state["replication_key_value"] = self._bookmark_limit
        return min(since, max(bookmark_limit, self.start_date))

    @property
    def lookback(self) -> int:
        """Seconds before a sync's start that the bookmark does not pass."""
        return 0

    @property
    def is_full(self) -> bool:
        """Whether a sync brings the whole table."""
        return self.replication_method == REPLICATION_FULL_TABLE

    @property
    def start_date(self) -> int:
        """Unix seconds."""
        start_date = self.config.get("start_date")
        return unix_seconds(start_date) if start_date else BEGINNING_OF_TIME

    def generate_child_contexts(self, record: Record, context: Context | None) -> Iterable[Context | None]:  # noqa: ARG002
        """Return nothing: there are no child streams, for which the SDK would copy something for each record."""
        return ()

    def get_batch_config(self, config: Mapping[str, Any]) -> None:
        """Return that there are no batches.

        The SDK writes a BATCH message only once the file is closed, but moves the bookmark before: a signal or an
        error in between would leave a state ahead of its rows.
        """

    # Bookmarks

    @staticmethod
    def bookmark_at(time: object) -> str:
        """Return the bookmark for a time in any form that `timestamps.normalize_timestamp` knows."""
        return f"{normalize_timestamp(time)[:SECOND_LENGTH]}Z"

    def move_bookmark(self) -> None:
        """Move the bookmark to the row that was high_watermark, but never past the bookmark_limit, and never back.

        Whatever lies past the bookmark_limit is read again by the next sync.
        """
        if self.is_full or not self.replication_key or not self.high_watermark:
            return
        bookmark = min(self.bookmark_at(self.high_watermark), self._bookmark_limit)
        if bookmark > self.stream_state.get("replication_key_value", ""):
            super()._increment_stream_state({self.replication_key: bookmark})

    def _increment_stream_state(self, latest_record: Record, *, context: Context | None = None) -> None:
        """Leave the bookmark where it is: it moves when a STATE is written.

        This overrides a private method of the SDK: its public hook for a limit, `get_replication_key_signpost`, does
        not hold for a sorted stream. `read` keeps `high_watermark`, and `move_bookmark` makes the bookmark of it.
        """

    def _write_state_message(self) -> None:
        """Write a STATE, also where it is the same as the last one.

        This overrides a private method of the SDK, which leaves such a STATE out. But some targets forget a state
        when a record comes after it, and what they write at the end would be no state at all.
        """
        self.move_bookmark()
        if not self.state_manager.is_flushed:
            self.tap.write_message(StateMessage(self.tap_state))
            self.state_manager.is_flushed = True

    @property
    def emit_activate_version_messages(self) -> bool:
        """No: the SDK sends the message before the rows, and a target would drop the old ones first.

        A sync that fails in between would leave an empty table. `get_records` sends it after the last row, for which
        there is only a private method, and the private `_stream_version`, which the SDK puts on each record.
        """
        return False

    # Requests

    def records(self, response: requests.Response, params: Mapping[str, Any]) -> list[Record]:
        """Return the records in an answer to a request with some parameters.

        Raises:
            FatalAPIError, RetriableAPIError: As with `decode_response`; or the answer is of another form.
        """
        answer, rows = decode_response(response), None
        with suppress(AttributeError, KeyError, TypeError):
            rows = self.rows(answer, params)
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise RetriableAPIError(f"The answer of {self.path} is not of the form that {self.name} has")
        return [self.shape(row) for row in rows]

    def _page(self, params: dict[str, Any]) -> list[Record]:
        """Ask once."""
        records = self.records(self.tap.client.get(self.path, params), params)
        for key in self.primary_keys:
            if any(record.get(key) is None for record in records):
                raise FatalAPIError(f"{self.path} sent a row without a usable {key}, which is the key of {self.name}")
        return records

    @cached_property
    def shape(self) -> RecordTransformer:
        """What makes records of rows."""
        return RecordTransformer(self.schema, self.effective_schema, self._log_odd)

    @property
    def url_base(self) -> str:
        """The API's base URL, which the SDK demands; `Client` makes the URLs."""
        return str(self.config["api_url"])

    def log(self, message: str, *args: Any, level: int = logging.INFO, **kwargs: Any) -> None:
        """Log a message; the SDK's, that there was some error, only at DEBUG: which one it was is logged in the end."""
        super().log(message, *args, level=logging.DEBUG if message.startswith("An unhandled") else level, **kwargs)

    def _log_odd(self, field: str, known: bool) -> None:  # noqa: FBT001 - A callback's argument.
        why = "holds a value that is not of its type" if known else "is not in the schema"
        self.log(
            "The field %s of %s %s: it goes into extra_fields", redact(field), self.name, why, level=logging.WARNING
        )
