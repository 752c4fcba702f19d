"""What the API only tells as sums over a range of days: a row for each day."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from decimal import Decimal
from typing import Any

from singer_sdk.exceptions import ConfigValidationError, FatalAPIError

from tap_wootric.base import Ask, WootricStream
from tap_wootric.progress import Progress
from tap_wootric.rows import DATE, DAY, Record, Row, utc, utc_second

_LATE = 7
"""Days in which most people answer who do. Nothing about it is documented: the number is ours."""


class DailyStream(WootricStream):
    """Sums over a day, by one request for each day from the bookmark, or `start_date`, to today (UTC).

    Which hours are a day depends on the account's time zone (documented), and so does what is today: a day that has
    begun there alone comes with the next sync. The bookmark stays behind, because late answers change the sums.
    """

    primary_keys = ("date",)
    replication_key = "date"

    @property
    def lookback(self) -> int:
        """Seconds before a sync's start that the bookmark does not pass."""
        return _LATE * DAY

    def check_settings(self) -> None:
        """See to it that there is a day to begin with.

        Raises:
            ConfigValidationError: There is none.
        """
        has_bookmark = not self.is_full and self.stream_state.get("replication_key_value")
        if not has_bookmark and "start_date" not in self.config:
            raise ConfigValidationError(
                "No start_date",
                errors=[f"start_date is not set: {self.name} needs it, as the first of the days that it asks for"],
            )

    @staticmethod
    def bookmark_at(time: object) -> str:
        """Return the date of a time in any form that `rows.utc` knows."""
        return utc(time)[:DATE]

    def read(self, ask: Ask, since: int, start: int, progress: Progress) -> Iterable[Record]:
        """Yield a row for each day from that of a Unix second to that of another.

        Whether `date[end]` is the last day of a range or the day behind it is not documented. So rows wait for the
        first day that has a response. If there is none, though there are some in all of the days, these are asked for
        in the other way. (The first response of all may come in between. It counts for two days until the next sync.)

        Raises:
            FatalAPIError: Also where there is no day, so that a full table would drop all rows.
        """
        days = range(since // DAY, start // DAY + 1)
        if not days:
            if self.is_full:
                raise FatalAPIError(f"{self.name}: by the API's clock, start_date is after today, {utc(start)[:DATE]}")
            return
        self._has_responses = False
        for length in (0, 1):
            waiting: list[Record] = []
            for records in self._answers(ask, [_range(day, day + length) for day in days]):
                waiting += records
                progress.at(f"{records[0]['date']}T00:00:00Z")
                if self._has_responses or length:
                    yield from self._emitted(waiting, progress)
                    waiting = []
            if waiting:
                ask(_range(days[0], days[-1] + 1))
            if not waiting or not self._has_responses:
                yield from self._emitted(waiting, progress)
                break

    def _answers(self, ask: Ask, ranges: list[dict[str, str]]) -> Iterator[list[Record]]:
        """Yield the answers for some ranges in their order; several are asked for at a time, unless that is limited."""
        yield ask(ranges[0])
        at_once = self.config["concurrency"]
        if at_once == 1 or self.tap.governor.is_limited(self.path):
            yield from map(ask, ranges[1:])
            return
        pool, pending = ThreadPoolExecutor(at_once), deque[Future[list[Record]]]()
        try:
            for one in ranges[1:]:
                pending.append(pool.submit(ask, one))
                if len(pending) == at_once:
                    yield pending.popleft().result()
            for answer in pending:
                yield answer.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # A signal is not to wait for the API.

    def _emitted(self, records: Iterable[Record], progress: Progress) -> Iterable[Record]:
        for record in records:
            self.reached = record["date"]
            progress.rows += 1
            yield record

    def rows(self, answer: Any, params: Mapping[str, Any]) -> list[Row]:
        """Return the sums of an answer as a row, and take note of whether there are responses in them."""
        responses = answer["responses"]  # Without them it is no such answer.
        with suppress(ArithmeticError):
            self._has_responses = self._has_responses or Decimal(str(responses)) > 0
        return [{**answer, "date": params["date[start]"]}]


def _range(first: int, last: int) -> dict[str, str]:
    """Return the parameters for days, which are counted from 1970."""
    return {"date[start]": _date(first), "date[end]": _date(last)}


def _date(day: int) -> str:
    return utc_second(day * DAY)[:DATE]
