"""The facts of a list, from the rows that the API returns."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tap_wootric.doctor import evidence
from tap_wootric.doctor.estimate import ListFacts, window_seconds
from tap_wootric.doctor.evidence import SeenPage, SeenRow
from tap_wootric.doctor.fields import FieldSurvey
from tap_wootric.doctor.probe import Answer, Probe, UnansweredError
from tap_wootric.doctor.size import SizeSurvey
from tap_wootric.pagination.query import LAST_PAGE, PAGE_SIZE, TIME_KEYS, TimeKey
from tap_wootric.records.timestamps import DATE_LENGTH, SECONDS_PER_DAY, timestamp_of_second, unix_seconds
from tap_wootric.streams.lists import ListStream

_LARGE_PAGE = 500
"""Rows per page that a third party names as the most; the vendor says 50."""

_YEAR_2100 = unix_seconds("2100-01-01T00:00:00Z")
_MARGIN = 20
"""Rows by which counts may differ because the list changes while it is examined."""

_FILTER_WITNESSES = 3
"""Rows outside a range that show that the API filters, if they are missing from it."""
_FILTER_ATTEMPTS = 2
_SUBSECOND_ROWS = 3
"""Rows that are stored on whole seconds show that all are."""
_SUBSECOND_ATTEMPTS = 4
_SETTLED_SECONDS = 60
"""No row is stamped any more with a second that is so long past."""
_SERVER_ERROR = 500


class RefusedError(UnansweredError):
    """The API refuses a parameter."""


@dataclass(slots=True)
class Findings:
    """What is known of a list; None if it is not known.

    Attributes:
        sorts: Whether the API sorts by each timestamp.
        filters: Whether it filters by each timestamp.
        page_size: The most rows on a page when 50 are asked for.
        large_page_size: The most rows on a page when 500 are asked for.
        last_page: What page 31 answers: `error`, `empty` or `rows`.
        last_page_status: The HTTP status of page 31.
        subsecond: Whether timestamps are stored finer than they are shown.
        stable_ties: Whether rows with equal timestamps come in the same order each time.
        shares_limit: Whether the list shares its rate limit with another list.
        reasons: Why a fact is not known, by the id of its check.
    """

    sorts: dict[TimeKey, bool | None] = field(default_factory=lambda: dict.fromkeys(TIME_KEYS))
    filters: dict[TimeKey, bool | None] = field(default_factory=lambda: dict.fromkeys(TIME_KEYS))
    page_size: int | None = None
    large_page_size: int | None = None
    last_page: str | None = None
    last_page_status: int | None = None
    subsecond: bool | None = None
    stable_ties: bool | None = None
    shares_limit: bool | None = None
    reasons: dict[str, str] = field(default_factory=dict)


class ListExamination:
    """Examines a list, step by step.

    Args:
        stream: The stream that reads the list.
        probe: Sends the requests.
        now: The server's time in Unix seconds.

    Attributes:
        stream: The stream that reads the list.
        findings: What is known so far.
        fields: The fields that differ from the schema.
        problem: Why the list cannot be read, if it cannot.
        answers: The answers to the requests for at most 50 rows.
    """

    def __init__(self, stream: ListStream, probe: Probe, now: int) -> None:
        self.stream = stream
        self.findings = Findings()
        self.fields = FieldSurvey(stream.schema)
        self.problem: UnansweredError | None = None
        self.answers: list[Answer] = []
        self._probe = probe
        self._now = now
        self._pages: list[SeenPage] = []
        self._rows: dict[Any, SeenRow] = {}
        self._size: SizeSurvey | None = None
        self._rows_to_sync: SizeSurvey | None = None

    # Steps

    def begin(self) -> None:
        """Find out whether the list can be read."""
        try:
            self._page(self._sorted_by("created_at"))
        except UnansweredError as error:
            self.problem = error

    def examine(self) -> None:
        """Find out everything but the number of rows and what ties show."""
        if self.problem:
            return
        with self._finding("last_page"):
            self._find_last_page()
        if not self._rows:
            self._settle_last_page()
            return
        for key in TIME_KEYS:
            with self._finding(_check_id("sorts", key)):
                self._find_order(key)
        for key in TIME_KEYS:
            with self._finding(_check_id("filters", key)):
                self.findings.filters[key] = self._filters(key)
        with self._finding("subsecond"):
            self.findings.subsecond = self._is_subsecond() if self.findings.filters["created_at"] else None
        with self._finding("page_size"):
            self._find_page_sizes()
        with self._finding("last_page"):
            self._settle_last_page()

    def measure(self, start_date: int | None) -> None:
        """Begin to count the rows, and those that a first sync reads.

        Args:
            start_date: The Unix second before which a sync skips rows, or None.
        """
        oldest, _ = self._span("created_at")
        if self.problem or oldest is None:
            return
        with self._finding("rows"):
            if self._first_page_rows < PAGE_SIZE and not self._is_page_cut:
                return  # All rows are on the first page.
            self._size = self._survey("created_at", oldest)
            begin, _ = self._span(self._sync_key)
            if self._size and start_date is not None and begin is not None and begin < start_date:
                self._rows_to_sync = self._survey(self._sync_key, start_date, is_whole=False)

    @property
    def doubt(self) -> float:
        """About how many rows the count may be off; 0 if more requests would not help."""
        return max((survey.doubt for survey in self._surveys), default=0.0)

    def refine(self) -> None:
        """Send a request that makes the count better."""
        survey = max(self._surveys, key=lambda survey: survey.doubt)
        with self._finding("rows"):
            survey.refine()

    def examine_ties(self) -> None:
        """Ask again for a page on which rows have equal timestamps, if there was one."""
        settled = self._now - _SETTLED_SECONDS
        page = max((page.settled(settled) for page in self._sorted_pages()), key=evidence.tie_proof, default=None)
        if page is None or not evidence.tie_proof(page):
            return
        with self._finding("stable_ties"):
            again = [self._page(page.params).settled(settled)]
            if evidence.keeps_ties(page, again, ()) is False:
                self.findings.stable_ties = False
            elif self.findings.subsecond is False:  # Otherwise rows of one second may have different timestamps.
                again.append(self._page(page.params).settled(settled))
                others = [self._page(params).settled(settled) for params in _with_other_borders(page.params)]
                self.findings.stable_ties = evidence.keeps_ties(page, again, others)

    def conclude(self) -> None:
        """Take into account what the later requests have shown."""
        for key in TIME_KEYS:
            if not self.problem and self.findings.sorts[key] is not False:
                self.findings.sorts[key] = self._sorts(key)

    def touch(self) -> Answer:
        """Send a request for a single row, and return the answer."""
        answer = self._probe.ask(self.stream.path, {**self._sorted_by("created_at"), "per_page": 1})
        self.answers.append(answer)
        return answer

    # Results

    @property
    def has_rows(self) -> bool:
        """Whether any row was seen."""
        return bool(self._rows)

    @property
    def rows(self) -> float | None:
        """About how many rows there are, or None."""
        if self.problem or (self._rows and not self._is_counted):
            return None
        if self._size:
            return self._size.rows
        return float(self._first_page_rows)

    @property
    def is_exact(self) -> bool:
        """Whether the rows were counted."""
        return self._size is None or self._size.is_exact

    def dates(self) -> tuple[str | None, str | None]:
        """Return the days (UTC) on which the first and the last row were created, if they are known."""
        if self.findings.sorts["created_at"] is False:
            return None, None
        first, last = self._span("created_at")
        return _date(first), _date(last)

    def response_days(self) -> list[str]:
        """Return the days, in the account's time zone, that have responses for sure, those with the most first."""
        today = timestamp_of_second(self._now - SECONDS_PER_DAY)[:DATE_LENGTH]
        return [day for day in evidence.days(self._rows.values()) if day < today]

    def median_seconds(self) -> float | None:
        """Return the median time of an answer."""
        return statistics.median(answer.seconds for answer in self.answers) if self.answers else None

    def last_limit(self) -> Answer | None:
        """Return the last answer that announced a limit."""
        return next((answer for answer in reversed(self.answers) if answer.remaining is not None), None)

    @property
    def window_seconds(self) -> float | None:
        """The length of the windows of the limit, if it shows."""
        return window_seconds([(answer.received, answer.reset) for answer in self.answers if answer.reset is not None])

    def seconds_to_reset(self, now: float) -> float:
        """Return how long it takes until the limit is reset, or infinity if that is not known."""
        limited = self.last_limit()
        return math.inf if limited is None or limited.reset is None else limited.reset - now

    def first_sync(self, start_date: int | None) -> ListFacts | None:
        """Return what the first sync of the list depends on, or None if its rows are not known.

        Args:
            start_date: The Unix second before which a sync skips rows, or None.
        """
        if self._rows_to_sync:
            return self._facts(self._rows_to_sync.rows)
        rows = self.rows
        if rows is not None and start_date is not None and self._size is None:
            times = [row.time(self._sync_key) for row in self._rows.values()]
            rows = float(sum(time is not None and time >= start_date for time in times))
        _, newest = self._span(self._sync_key)
        return self._facts(0.0 if start_date is not None and newest is not None and newest < start_date else rows)

    def later_sync(self, first: ListFacts, seconds: int) -> ListFacts:
        """Return what a later sync of the list depends on.

        Args:
            first: What its first sync depends on.
            seconds: How much later it is.
        """
        if self.findings.filters["updated_at"] is False:
            return first  # The tap then asks for all rows each time.
        times = self._newest_times(self._sync_key)
        if not times:
            return self._facts(0.0) or first
        rows = len(times) * seconds / max(1, self._now - min(times))
        return self._facts(min(first.rows, rows)) or first

    # How each fact is found

    def _find_order(self, key: TimeKey) -> None:
        try:
            if key == "created_at":
                self._fetch_newest()
            else:
                self._page(self._sorted_by(key))
                self._page(self._sorted_by(key, descending=True))
        except RefusedError:
            self.findings.sorts[key] = False
            return
        self.findings.sorts[key] = self._sorts(key)

    def _fetch_newest(self) -> None:
        """Ask for the newest rows, in a large page if the API does not refuse that."""
        params = self._sorted_by("created_at", descending=True)
        try:
            self._page({**params, "per_page": _LARGE_PAGE})
        except RefusedError:
            self._page(params)

    def _sorts(self, key: TimeKey) -> bool | None:
        fallbacks: list[evidence.RowKey] = ["email"] if "email" in self.stream.sort_keys else []
        if key == "updated_at":
            fallbacks += ["created_at", "id"]
        return evidence.sorts([page for page in self._pages if page.sort_key == key], key, fallbacks)

    def _filters(self, key: TimeKey) -> bool | None:
        column, is_found = key.removesuffix("_at"), False
        try:
            for row, second in self._witnesses(key)[:_FILTER_ATTEMPTS]:
                page = self._page(self._of_second(column, second))
                if evidence.filters([page], key) is False:
                    return False
                is_found = any(other.id == row.id for other in page.rows)
                if is_found:
                    outside = sum(other.time(key) not in {None, second} for other in self._rows.values())
                    is_short = len(page.rows) + _FILTER_WITNESSES <= self._first_page_rows
                    if outside >= _FILTER_WITNESSES and is_short:
                        return True
                    break
            if not is_found and key == "created_at":
                return None
            # Nothing is stamped so far ahead.
            page = self._page({**self._sorted_by("created_at"), f"{column}[gte]": _YEAR_2100})
        except RefusedError:
            return False
        if page.rows:
            return evidence.filters([page], key)
        return True if self._page(self._sorted_by("created_at")).rows else None

    def _is_subsecond(self) -> bool | None:
        """Look for rows that are not found by their exact timestamps."""
        whole = 0
        for row, second in self._witnesses("created_at")[:_SUBSECOND_ATTEMPTS]:
            page = self._page({**self._sorted_by("created_at"), "created[eq]": second})
            if any(time != second for time in page.times("created_at")):
                return None  # The API does not know `eq`.
            if any(other.id == row.id for other in page.rows):
                whole += 1
                if whole == _SUBSECOND_ROWS:
                    return False
            elif len(page.rows) < self._first_page_rows:
                still = self._page(self._of_second("created", second))
                if any(other.id == row.id for other in still.rows):
                    return True
        return None

    def _find_last_page(self) -> None:
        """Ask for page 31 in pages of a single row, so that short lists show it, too."""
        params = {**self._sorted_by("created_at"), "per_page": 1, "page": LAST_PAGE + 1}
        answer = self._probe.ask(self.stream.path, params, attempts=1)
        if answer.problem and (answer.status is None or answer.status >= _SERVER_ERROR):  # By chance, perhaps.
            answer = self._probe.ask(self.stream.path, params)
        self.findings.last_page_status = answer.status
        if answer.problem and answer.status is None:
            raise UnansweredError(answer.problem)
        if answer.problem:
            self.findings.last_page = "error"
        else:
            self.findings.last_page = "rows" if answer.content else "empty"

    def _settle_last_page(self) -> None:
        """Forget that page 31 was empty if the list may be too short to have one."""
        if self.findings.last_page == "empty" and len(self._rows) < LAST_PAGE + _MARGIN:
            self.findings.last_page = None

    def _find_page_sizes(self) -> None:
        rows, large = self._first_page_rows, self._large_page_rows
        if rows >= PAGE_SIZE or large > rows + _MARGIN:
            self.findings.page_size = rows
        if large >= _LARGE_PAGE or (large and len(self._rows) > large + _MARGIN):
            self.findings.large_page_size = large
        if self.findings.page_size is not None and self.findings.large_page_size is not None:
            return
        if len(self._rows) <= large:
            return
        # Only if there are more rows than a page has, is its size the limit.
        asked = _LARGE_PAGE if large > max(rows, PAGE_SIZE) else PAGE_SIZE
        more = self._page({**self._sorted_by("created_at"), "per_page": asked, "page": 2})
        if len(more.rows) >= _MARGIN:
            self.findings.page_size = rows if asked == PAGE_SIZE else self.findings.page_size
            self.findings.large_page_size = large or None

    # Requests

    def _page(self, params: Mapping[str, Any]) -> SeenPage:
        """Ask for a page, and keep what it shows.

        Raises:
            RefusedError: The API refuses a parameter.
            UnansweredError: There is no usable answer.
        """
        answer = self._probe.ask(self.stream.path, params)
        if params["per_page"] <= PAGE_SIZE and answer.status is not None:
            self.answers.append(answer)
        if answer.problem:
            raise RefusedError(answer.problem) if answer.is_final else UnansweredError(answer.problem)
        rows = answer.content
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise UnansweredError(f"{self.stream.path} does not answer with a list of rows")
        for row in rows:
            self.fields.add(row)
        page = SeenPage(params, [SeenRow.of(row) for row in rows])
        self._pages.append(page)
        self._rows |= {row.id: row for row in page.rows}
        return page

    def _sorted_by(self, key: TimeKey, *, descending: bool = False) -> dict[str, Any]:
        return {"per_page": PAGE_SIZE, "sort_key": key, "sort_order": "desc" if descending else "asc"}

    def _of_second(self, column: str, second: int) -> dict[str, Any]:
        return {**self._sorted_by("created_at"), f"{column}[gte]": second, f"{column}[lt]": second + 1}

    def _survey(self, key: TimeKey, begin: int, *, is_whole: bool = True) -> SizeSurvey | None:
        """Begin a survey of the rows; None if the API neither sorts and filters, nor has few rows."""
        page_rows = max(self._first_page_rows, self.findings.large_page_size or 0)
        column = key.removesuffix("_at")

        def fetch(start: int | None, end: int | None, number: int, descending: bool) -> Sequence[int]:  # noqa: FBT001
            bounds = {f"{column}[gte]": start, f"{column}[lt]": end}
            params = {**self._sorted_by(key, descending=descending), "page": number}
            params |= {name: bound for name, bound in bounds.items() if bound is not None}
            if page_rows > PAGE_SIZE:
                params["per_page"] = _LARGE_PAGE
            times = [row.time(key) for row in self._page(params).rows]
            return [begin if time is None else time for time in times]

        survey = SizeSurvey(fetch, page_rows, begin, self._newest_times(key), is_whole=is_whole)
        survey.measure()
        is_sound = self.findings.sorts[key] and self.findings.filters[key]
        return survey if survey.is_short or is_sound else None

    # What was seen

    def _sorted_pages(self) -> Iterator[SeenPage]:
        """Yield the pages on whose order the ties depend."""
        for page in self._pages:
            for key in TIME_KEYS:
                is_sorted = self.findings.sorts[key]
                if page.sort_key == key and (is_sorted or (is_sorted is None and key == "created_at")):
                    yield page

    @property
    def _first_page_rows(self) -> int:
        return len(self._pages[0].rows) if self._pages else 0

    @property
    def _large_page_rows(self) -> int:
        return max((len(page.rows) for page in self._pages if page.params["per_page"] == _LARGE_PAGE), default=0)

    @property
    def _is_page_cut(self) -> bool:
        """Whether a page has fewer rows than were asked for although there are more."""
        return self.findings.page_size is not None and self.findings.page_size < PAGE_SIZE

    @property
    def _is_counted(self) -> bool:
        return self._size is not None or (self._first_page_rows < PAGE_SIZE and not self._is_page_cut)

    @property
    def _surveys(self) -> list[SizeSurvey]:
        return [survey for survey in (self._size, self._rows_to_sync) if survey]

    @property
    def _sync_key(self) -> TimeKey:
        """The timestamp by which a sync reads the list."""
        is_updated = self.findings.filters["updated_at"] and self.findings.sorts["updated_at"] is not False
        return "updated_at" if is_updated else "created_at"

    def _witnesses(self, key: TimeKey) -> list[tuple[SeenRow, int]]:
        """Return rows with the second of a timestamp, the most useful first.

        These are rows that share the second with few others, and that were not imported on the minute. Rows that have
        not been updated for long are likely to stay where they are.
        """
        by_second: dict[int, list[SeenRow]] = {}
        for row in self._rows.values():
            if (second := row.time(key)) is not None:
                by_second.setdefault(second, []).append(row)
        seconds = sorted(by_second, key=lambda second: (len(by_second[second]), second % 60 == 0, second))
        return [(by_second[second][0], second) for second in seconds]

    def _span(self, key: TimeKey) -> tuple[int | None, int | None]:
        """Return the seconds of the oldest and of the newest row that was seen."""
        times = [time for row in self._rows.values() if (time := row.time(key)) is not None]
        return min(times, default=None), max(times, default=None)

    def _newest_times(self, key: TimeKey) -> list[int]:
        """Return the seconds of the newest rows, at most 50 of them."""
        newest = [page for page in self._pages if page.descending and page.sort_key == key]
        return newest[0].times(key)[:PAGE_SIZE] if newest else []

    def _facts(self, rows: float | None) -> ListFacts | None:
        seconds, limited = self.median_seconds(), self.last_limit()
        if rows is None or seconds is None:
            return None
        return ListFacts(rows, seconds, limited.limit if limited else None, self.window_seconds)

    @contextmanager
    def _finding(self, check_id: str) -> Iterator[None]:
        """Keep the reason if a fact cannot be found out."""
        try:
            yield
        except UnansweredError as error:
            self.findings.reasons[check_id] = str(error)


def _check_id(kind: str, key: TimeKey) -> str:
    return f"{kind}_{key.removesuffix('_at')}"


def _with_other_borders(params: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the parameters of pages that have the rows of a page, or some of them, but other borders."""
    size, number = params["per_page"], params.get("page", 1)
    if 2 * number > LAST_PAGE or size > PAGE_SIZE:
        return [{**params, "per_page": min(size, PAGE_SIZE) - 1}]
    half = math.ceil(size / 2)
    return [{**params, "per_page": half, "page": 2 * number - 1}, {**params, "per_page": half, "page": 2 * number}]


def _date(second: int | None) -> str | None:
    return None if second is None else timestamp_of_second(second)[:DATE_LENGTH]
