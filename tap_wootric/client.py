"""The stream that all streams are: it asks page by page, and knows from where, up to where and how far it got."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar, ParamSpec, TypeVar, cast
from urllib.parse import urlencode

import backoff
import requests
from requests.exceptions import ChunkedEncodingError, ContentDecodingError
from singer_sdk import RESTStream, SchemaDirectory
from singer_sdk.exceptions import FatalAPIError, RetriableAPIError
from singer_sdk.helpers.conform import TypeConformanceLevel
from singer_sdk.singerlib import StateMessage
from singer_sdk.singerlib.catalog import REPLICATION_FULL_TABLE

from tap_wootric import schemas, seek, windows
from tap_wootric.answers import describe, plain, read_answer
from tap_wootric.progress import Progress
from tap_wootric.rows import SECOND, Record, Shaper, unix_seconds, utc

if TYPE_CHECKING:
    from backoff.types import Details
    from singer_sdk.helpers.types import Context

    from tap_wootric.auth import WootricAuthenticator
    from tap_wootric.tap import TapWootric

P = ParamSpec("P")
T = TypeVar("T")

SCHEMAS: SchemaDirectory = SchemaDirectory(schemas)

_DAY = 86_400
_YEAR_2100 = unix_seconds("2100-01-01T00:00:00Z")
_TRIES = 9
_LONGEST_PAUSE = 64
"""Seconds. Between nine tries lie pauses of 2, 4, 8, 16, 32, 64, 64 and 64: a bit over four minutes."""
_LONGEST_TROUBLE = 300
"""Seconds after which a request is not made again, where the answers or the limit take long."""
_LEAST_TRIES = 3
"""The tries that there are all the same: a long wait for a limit is no trouble."""
_MAY_PASS = (RetriableAPIError, requests.ConnectionError, requests.Timeout, ChunkedEncodingError, ContentDecodingError)


class WootricStream(RESTStream[Any]):
    """A list of the Wootric API, read in the order that `seek.py` gives.

    INCREMENTAL reads by `updated_at`, from the bookmark to the start of the sync. FULL_TABLE reads by `created_at`,
    which no update changes, so that no row that exists is left out; then it lets the target drop all others.
    """

    name: str
    primary_keys: Sequence[str] = ("id",)
    replication_key = "updated_at"
    is_sorted = True

    schema: ClassVar[dict[str, Any]]
    STATE_MSG_FREQUENCY = 100
    TYPE_CONFORMANCE_LEVEL = TypeConformanceLevel.NONE  # Rows are brought to their schema in `rows.py`.

    filters_updates = True
    """Whether the API is known to filter this list by `updated`. Where it is not, a request finds out."""

    def __init_subclass__(cls) -> None:
        """Give a stream the schema of its name: as a plain attribute, which the SDK looks up for each record."""
        super().__init_subclass__()
        cls.schema = dict(SCHEMAS.get_schema(cls.name))

    def __init__(self, tap: TapWootric) -> None:
        super().__init__(tap)
        self._wootric = tap
        self._in_thread = threading.local()
        self._reached = ""
        self._horizon = ""

    # What to read

    def get_records(self, context: Context | None) -> Iterable[Record]:
        """Yield the rows of one sync, oldest first.

        Raises:
            FatalAPIError: The API refuses a request, kept failing for minutes, or gives answers that cannot be right.
        """
        try:
            start = self._server_time()
            since = self._since(start, context)
            with self.get_http_request_counter() as requests_made, Progress(self, since, start) as progress:
                ask, counting = self._retried(self._page), threading.Lock()

                def fetch(query: seek.Query) -> list[Record]:
                    if len(query.updated_at) == 1:
                        self._wootric.governor.let_pass(query.updated_at.lt)
                    with counting:
                        requests_made.increment()
                        progress.requests += 1
                    return ask(query)

                def is_limited() -> bool:
                    return self._wootric.governor.is_limited(self.path)

                queries = self._queries(since, start, filters_updates=self._filters_updates(fetch))
                at_once = self.config["concurrency"]
                records = chain.from_iterable(windows.read(fetch, query, at_once, is_limited) for query in queries)
                yield from self._wanted(records, since, queries[0].order_by, progress)
        except Exception as error:
            self._write_state_message()  # The SDK itself writes none where a stream fails.
            if isinstance(error, seek.SeekError):
                raise FatalAPIError(f"{self.name}: {error}") from error
            raise
        if self._stream_version:
            self._write_activate_version_message(self._stream_version)

    def _since(self, start: int, context: Context | None) -> int:
        """Return the second, in Unix seconds, of the oldest update that the sync is to bring."""
        if self._is_full:
            return self._start_date
        horizon = max(0, start - self._lookback)
        self._horizon = utc(horizon)
        bookmark = self.get_starting_timestamp(context)
        since = int(bookmark.timestamp()) if bookmark else seek.ALWAYS
        if since > horizon:
            # A bookmark past the horizon comes from another tap, another clock or a smaller lookback_window.
            self._pull_bookmark_back(start)
            return max(horizon, self._start_date)
        return since

    def _queries(self, since: int, start: int, *, filters_updates: bool) -> list[seek.Query]:
        """Return the queries for a sync that starts at a Unix second, and wants what was updated since another."""
        if filters_updates and not self._is_full:
            return [seek.Query("updated_at", updated_at=seek.Span(since, start + 1))]
        if filters_updates:
            everything = seek.Query("created_at", updated_at=seek.Span(since))
        else:
            everything = seek.Query("created_at", created_at=seek.Span(self._start_date), one_clock=True)
        begin = everything.created_at.gte
        if not self._is_full:
            return [everything.within("created_at", seek.Span(begin, start + 1))]
        # A target drops what a full table lacks: let neither clocks nor rows that are ahead of time decide that.
        self._stream_version = start
        tomorrow = start + _DAY
        return [everything.within("created_at", span) for span in (seek.Span(begin, tomorrow), seek.Span(tomorrow))]

    def _filters_updates(self, fetch: seek.Fetch) -> bool:
        """Return whether the API filters by `updated`; one that does not ignores the parameter without a word."""
        if self.filters_updates or not fetch(seek.Query("updated_at", updated_at=seek.Span(gte=_YEAR_2100))):
            return True
        self.log(
            "This API does not filter %s by updated_at: each sync asks for all of them that were created since "
            "start_date, and emits those that were updated since the last one",
            self.name,
            level=logging.WARNING,
        )
        return False

    def _wanted(
        self, records: Iterable[Record], since: int, order_by: seek.Clock, progress: Progress
    ) -> Iterable[Record]:
        """Yield the records that were updated since a Unix second, and keep track of how far the reading got."""
        oldest, newest = utc(since)[:SECOND] if since > 0 else "", ""
        is_in_order = order_by == "updated_at"
        for record in records:
            if stamp := record.get("updated_at"):
                if stamp < oldest:
                    continue
                newest = max(newest, stamp)
                if is_in_order:
                    self._reached = newest
            progress.rows += 1
            if not progress.rows % seek.PAGE_SIZE:
                progress.at(record.get(order_by))
            yield record
        self._reached = newest

    @property
    def _is_full(self) -> bool:
        return self.replication_method == REPLICATION_FULL_TABLE

    @property
    def _lookback(self) -> int:
        """Seconds."""
        return int(self.config["lookback_window"])

    @property
    def _start_date(self) -> int:
        """Unix seconds."""
        start_date = self.config.get("start_date")
        return unix_seconds(start_date) if start_date else seek.ALWAYS

    def _server_time(self) -> int:
        """Return the server's Unix second, which a token's answer tells if no other did."""
        self._retried(self.authenticator.authorization)()
        return int(self._wootric.governor.now())

    def generate_child_contexts(self, record: Record, context: Context | None) -> Iterable[Context | None]:  # noqa: ARG002
        """Return nothing: there are no child streams, for which the SDK would copy something for each record."""
        return ()

    def get_batch_config(self, config: Mapping[str, Any]) -> None:
        """Return that there are no batches.

        The SDK writes a BATCH message only once the file is closed, but moves the bookmark before: a signal or an
        error in between would leave a state ahead of its rows.
        """

    @property
    def waited(self) -> float:
        """Seconds that the tap has spent waiting for rate limits."""
        return self._wootric.governor.waited

    # Bookmarks

    def move_bookmark(self) -> None:
        """Move the bookmark to the row that was reached, but never past the horizon, and never back.

        A row's `updated_at` is set before its transaction commits, so behind the rows just read more may appear.
        Whatever lies past the horizon is therefore read again by the next sync.
        """
        bookmark = min(f"{self._reached[:SECOND]}Z", self._horizon)
        if self._reached and bookmark > self.stream_state.get("replication_key_value", ""):
            super()._increment_stream_state({"updated_at": bookmark})

    def _increment_stream_state(self, latest_record: Record, *, context: Context | None = None) -> None:
        """Leave the bookmark where it is: it moves when a STATE is written.

        This overrides a private method of the SDK: its public hook for a limit, `get_replication_key_signpost`, does
        not hold for a sorted stream. How far the reading got comes from `get_records`.
        """

    def _write_state_message(self) -> None:
        """Write a STATE, also where it is the same as the last one.

        This overrides a private method of the SDK, which leaves such a STATE out. But some targets forget a state
        when a record comes after it, and what they write at the end would be no state at all.
        """
        self.move_bookmark()
        if not self.state_manager.is_flushed:
            self._wootric.write_message(StateMessage(self.tap_state))
            self.state_manager.is_flushed = True

    def _pull_bookmark_back(self, start: int) -> None:
        bookmark = self.stream_state.get("replication_key_value", "")
        if bookmark > utc(start + _DAY):
            raise FatalAPIError(
                f"The bookmark of {self.name}, {bookmark}, lies in the future: correct the state, or leave it out "
                "to read everything again"
            )
        if bookmark > self._horizon:
            self.stream_state["replication_key_value"] = self._horizon

    @property
    def emit_activate_version_messages(self) -> bool:
        """No: the SDK sends the message before the rows, and a target would drop the old ones first.

        A sync that fails in between would leave an empty table. `get_records` sends it after the last row, for which
        there is only a private method, and the private `_stream_version`, which the SDK puts on each record.
        """
        return False

    # One request

    def _page(self, query: seek.Query) -> list[Record]:
        """Ask for a page."""
        response = self._ask(parameters(query))
        records = self._shape.page(response.content) if response.ok else None
        if records is None:
            rows = read_answer(response)
            if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
                raise RetriableAPIError(f"The answer of {self.path} is not a list of rows")
            records = [self._shape(row) for row in rows]
        if any(record.get("id") is None for record in records):
            raise FatalAPIError(f"{self.path} sent a row without a usable id, which is the key of {self.name}")
        return records

    def _ask(self, params: dict[str, Any]) -> requests.Response:
        """Return what the API answers; a token that it refuses is replaced once."""
        response = self._send(params)
        if response.status_code == requests.codes.unauthorized:
            self.authenticator.refuse(response)
            response = self._send(params)
        return response

    def _send(self, params: dict[str, Any]) -> requests.Response:
        governor = self._wootric.governor
        with governor.turn(self.path):
            request = self._prepared.copy()
            request.url = f"{self._url}?{urlencode(params)}"
            request.headers.update(self.authenticator.authorization())
            response = self._session.send(request, timeout=self.timeout)
            governor.observe(self.path, response)
        return response

    @property
    def _session(self) -> requests.Session:
        """The thread's own session: that one can be shared is not promised.

        What requests looks up in the environment for each request anew, proxies and certificates, is looked up once.
        """
        if not hasattr(self._in_thread, "session"):
            session = requests.Session()
            found = session.merge_environment_settings(self._url, {}, None, None, None)
            session.proxies, session.verify, session.trust_env = found["proxies"], found["verify"], False
            self._in_thread.session = session
        return cast("requests.Session", self._in_thread.session)

    @cached_property
    def _prepared(self) -> requests.PreparedRequest:
        """What all requests have in common: to put it together costs as much as to send it."""
        return requests.Request("GET", self._url, headers=self.http_headers).prepare()

    @cached_property
    def _url(self) -> str:
        return f"{self.url_base}{self.path}"

    @cached_property
    def _shape(self) -> Shaper:
        return Shaper(self.schema, self.effective_schema, self._log_odd)

    @property
    def url_base(self) -> str:
        """The API's base URL, without a slash at its end."""
        return str(self.config["api_url"])

    @property
    def authenticator(self) -> WootricAuthenticator:
        """The tap's authenticator: one token for all streams."""
        return self._wootric.authenticator

    @property
    def http_headers(self) -> dict[str, str]:
        """Headers of every request but the token."""
        return {"Accept": "application/json", "User-Agent": self.user_agent}

    @property
    def timeout(self) -> int:
        """Seconds to wait for an answer."""
        return int(self.config["request_timeout"])

    # Trying again

    def _retried(self, ask: Callable[P, T]) -> Callable[P, T]:
        """Return a function that asks again, after a pause, where that may help.

        Raises:
            FatalAPIError: From the function, where none of the tries helped.
        """

        def retried(*args: P.args, **kwargs: P.kwargs) -> T:
            begun, tries = time.monotonic(), 0

            def attempt() -> T:
                nonlocal tries
                tries += 1
                return ask(*args, **kwargs)

            try:
                return backoff.on_exception(
                    backoff.expo,
                    _MAY_PASS,
                    max_tries=_TRIES,
                    giveup=lambda _: tries >= _LEAST_TRIES and time.monotonic() - begun > _LONGEST_TROUBLE,
                    jitter=backoff.random_jitter,
                    on_backoff=self._log_pause,
                    logger=None,  # It would log the parameters, and a URL.
                    factor=2,
                    max_value=_LONGEST_PAUSE,
                )(attempt)()
            except (RetriableAPIError, requests.RequestException) as error:
                seconds = time.monotonic() - begun
                raise FatalAPIError(
                    f"{self.name}: {describe(error)}. Gave up after trying again for {seconds:.0f} seconds"
                ) from error

        return retried

    def _log_pause(self, details: Details) -> None:
        self.log(
            "%s: %s. Trying again in %.0f seconds (try %d of %d)",
            self.name,
            describe(details["exception"]),
            details["wait"],
            details["tries"] + 1,
            _TRIES,
            level=logging.WARNING,
        )

    def log(self, message: str, *args: Any, level: int = logging.INFO, **kwargs: Any) -> None:
        """Log a message; the SDK's, that there was some error, only at DEBUG: which one it was is logged in the end."""
        super().log(message, *args, level=logging.DEBUG if message.startswith("An unhandled") else level, **kwargs)

    def _log_odd(self, field: str, known: bool) -> None:  # noqa: FBT001 - A callback's argument.
        why = "holds a value that is not of its type" if known else "is not in the schema"
        self.log(
            "The field %s of %s %s: it goes into extra_fields", plain(field), self.name, why, level=logging.WARNING
        )


def parameters(query: seek.Query) -> dict[str, Any]:
    """Return a query in the API's words; times are Unix seconds."""
    params: dict[str, Any] = {
        "per_page": query.size,
        "sort_key": query.order_by,
        "sort_order": "desc" if query.descending else "asc",
    }
    for name, span in (("updated", query.updated_at), ("created", query.created_at)):
        if span.gte > seek.ALWAYS:
            params[f"{name}[gte]"] = span.gte
        if span.lt < seek.FOREVER:
            params[f"{name}[lt]"] = span.lt
    if query.page > 1:
        params["page"] = query.page
    return params
