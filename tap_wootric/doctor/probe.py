"""Sends the doctor's requests as the tap sends them, but limits their number and their time."""

from __future__ import annotations

import math
import re
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import requests
from singer_sdk.exceptions import FatalAPIError, RetriableAPIError
from typing_extensions import override

from tap_wootric.api.client import HASTY, Client
from tap_wootric.api.rate_limit import RateLimiter
from tap_wootric.api.responses import ApiUnavailableError, safe_message
from tap_wootric.pagination.query import PAGE_SIZE, Query, TimeKey, TimeRange, in_range
from tap_wootric.records.timestamps import unix_seconds
from tap_wootric.records.transform import Record
from tap_wootric.settings import Settings
from tap_wootric.streams.base import WootricStream
from tap_wootric.streams.lists import ListStream, parameters

_MAX_REQUESTS = 55
"""The last one may be sent a few more times, with other tokens or after errors."""
_MAX_SECONDS = 90.0
"""How long to send requests, without the waits for limits."""
_MAX_WAIT_SECONDS = 240.0
"""The longest total wait for rate limits. The documented limit resets every minute."""
_QUOTE = re.compile(r"( for /\S+): (?!the API redirects).*")
"""The end of a message about a response, which quotes it."""


class NotAskedError(Exception):
    """A request was not sent, because the doctor has reached a limit. The message says which."""


class Probe(Client):
    """The tap's client, which keeps the responses, and stops sending requests once there have been enough.

    Args:
        settings: The tap's settings.
        report_progress: Called with a line about each wait.
        session: Sends the requests.
        sleep: Sleeps for a number of seconds.

    Attributes:
        responses: The responses for each path, errors included.
        unavailable: The error after which no stream can be read, if there was one.
    """

    def __init__(
        self,
        settings: Settings,
        report_progress: Callable[[str], object],
        *,
        session: requests.Session | None = None,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        def wait(seconds: float) -> None:
            if self.rate_limiter.throttled_seconds + seconds > _MAX_WAIT_SECONDS:
                raise NotAskedError("the API's rate limit leaves no request for it")
            report_progress(f"Waiting {math.ceil(seconds)} s for the API's rate limit")
            sleep(seconds)

        super().__init__(settings, HASTY, rate_limiter=RateLimiter(sleep=wait), session=session, sleep=sleep)
        self.responses: dict[str, list[requests.Response]] = defaultdict(list)
        self.unavailable: Exception | None = None
        self._started_at = time.monotonic()

    @override
    def request(self, path: str, params: Mapping[str, Any]) -> requests.Response:
        response = super().request(path, params)
        self.responses[path].append(response)
        return response

    def ask(self, stream: WootricStream, params: dict[str, Any]) -> list[Record]:
        """Return the records that a stream of the tap makes of a response.

        Raises:
            NotAskedError: There have been too many requests, it would take too long, or no stream can be read.
            FatalAPIError: There is no usable response, as with `WootricStream.records_with_retries`.
        """
        if self.unavailable:
            raise NotAskedError("no stream can be read")
        if self.rate_limiter.requests_sent >= _MAX_REQUESTS:
            raise NotAskedError("it would take too many requests")
        if time.monotonic() - self._started_at - self.rate_limiter.throttled_seconds > _MAX_SECONDS:
            raise NotAskedError("the API is too slow to find it out")
        try:
            return stream.records_with_retries(params)
        except ApiUnavailableError as error:
            self.unavailable = error
            raise


class ListProbe:
    """Asks for pages of a list, each only once, and keeps their rows. So facts may share pages, in any order.

    Args:
        client: Sends the requests.
        stream: The stream that reads the list.

    Attributes:
        key: The time that an incremental sync goes by.
        sync_range: What a first sync would read.
        pages: The pages by their queries.
        rows: The latest record of each row, by its id.
    """

    def __init__(self, client: Probe, stream: ListStream) -> None:
        clock = client.rate_limiter.clock
        self.stream = stream
        self.key = stream.query_key
        self.sync_range = stream.range_from(clock.earlier(), clock.later())
        self.pages: dict[Query, list[Record]] = {}
        self.rows: dict[int, Record] = {}
        self.client = client

    def query(self, key: TimeKey, *, descending: bool = False) -> Query:
        """Return the query for the first page of a first sync, by a time of choice."""
        time_range = TimeRange(self.sync_range.start, self.sync_range.until)
        return Query(key, sort_keys=self.stream.sort_keys, descending=descending).with_range(key, time_range)

    def fetch(self, query: Query) -> list[Record]:
        """Return a page. Raises what `Probe.ask` does."""
        if query not in self.pages:
            self.pages[query] = self.client.ask(self.stream, parameters(query))
            self.rows |= {record["id"]: record for record in self.pages[query]}
        return self.pages[query]

    @property
    def largest_page(self) -> int:
        """The most rows on a page so far."""
        return max(map(len, self.pages.values()), default=0)

    @property
    def short_pages(self) -> set[int]:
        """The sizes of the pages that came short: a later page shows that the list had more rows."""
        settled = TimeRange(lt=self.sync_range.now - self.stream.lookback_seconds)
        later, found = list[Record](), set[int]()
        for query, page in reversed(self.pages.items()):
            missing = {record["id"] for record in query.select(later)}.difference(record["id"] for record in page)
            if query.page == 1 and len(page) < query.size and missing:
                found.add(len(page))
            later += in_range([record for record in page if record.get(self.key)], self.key, settled)
        return found

    @property
    def page_rows(self) -> int:
        """How many rows a page has if more follow, as far as is known."""
        return self.largest_page if self.short_pages else PAGE_SIZE

    @property
    def median_seconds(self) -> float:
        """The median time of a response."""
        return statistics.median(response.elapsed.total_seconds() for response in self._responses)

    def header(self, name: str) -> int | None:
        """Return the last number that a header had, or None."""
        for response in reversed(self._responses):
            with suppress(OverflowError, ValueError):
                return int(float(response.headers.get(name, "")))
        return None

    @property
    def _responses(self) -> list[requests.Response]:
        return self.client.responses[self.stream.path]


def seconds_of(records: list[Record], key: TimeKey) -> list[int]:
    """Return the Unix seconds of some records, apart from those without that time."""
    return [unix_seconds(record[key]) for record in records if record.get(key)]


def is_refusal(error: Exception) -> bool:
    """Return whether the API refuses a request, and would do so again. Errors that the tap retries may pass."""
    is_transient = isinstance(error.__cause__, RetriableAPIError | requests.RequestException)
    return isinstance(error, FatalAPIError) and not isinstance(error, ApiUnavailableError) and not is_transient


def plain_message(error: BaseException) -> str:
    """Return one line about an error, without what the API itself says: it may name a customer or the account."""
    return _QUOTE.sub(r"\1 (error message left out)", safe_message(error))
