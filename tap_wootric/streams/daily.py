"""What the API only tells as sums over a range of days: a row for each day."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import suppress
from functools import cached_property
from typing import Any

from singer_sdk.exceptions import ConfigValidationError, FatalAPIError

from tap_wootric.progress import Progress
from tap_wootric.records.timestamps import DATE_LENGTH, SECONDS_PER_DAY, normalize_timestamp, timestamp_of_second
from tap_wootric.records.transform import Record, RecordTransformer, Row
from tap_wootric.streams.base import Fetch, WootricStream

_LATE = 7
"""Days in which most people answer who do. Nothing about it is documented: the number is ours."""


class DailyStream(WootricStream):
    """Sums over a day, by one request for each day from the bookmark, or `start_date`, to today (UTC).

    Which hours are a day depends on the account's time zone (documented), and so does what is today: a day that has
    begun there, but not in UTC, comes with the next sync. The bookmark stays behind, since late answers change sums.
    """

    primary_keys = ("date",)
    replication_key = "date"

    @property
    def lookback(self) -> int:
        """Seconds before a sync's start that the bookmark does not pass."""
        return _LATE * SECONDS_PER_DAY

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
        """Return the date of a time in any form that `timestamps.normalize_timestamp` knows."""
        return normalize_timestamp(time)[:DATE_LENGTH]

    def read(self, ask: Fetch, since: int, start: int, progress: Progress) -> Iterable[Record]:
        """Yield a row for each day from that of a Unix second to that of another.

        Whether a range of days includes that of `date[end]` is not documented. A response in a range of a single day
        shows that it does, so rows wait for the first one. If there is none in any day, but in all of them together,
        ranges end before: then the days are asked for in that way.

        Raises:
            FatalAPIError: Also where there is no day, so that a full table would drop all rows.
        """
        days = range(since // SECONDS_PER_DAY, start // SECONDS_PER_DAY + 1)
        if not days:
            if self.is_full:
                raise FatalAPIError(
                    f"{self.name}: by the API's clock, start_date is after today, {_date(start // SECONDS_PER_DAY)}"
                )
            return
        waiting, is_told = list[Record](), False
        for record in self._sums(ask, days, 0):
            progress.at(f"{record['date']}T00:00:00Z")
            waiting.append(record)
            is_told = is_told or bool(record["responses"])
            if is_told:
                yield from self._emitted(waiting, progress)
                waiting = []
        if waiting and _end_before(ask, days):
            yield from self._emitted(self._sums(ask, days, 1), progress)
        else:
            yield from self._emitted(waiting, progress)

    def _sums(self, ask: Fetch, days: range, length: int) -> Iterator[Record]:
        """Yield the sums of ranges, one from each day to some days later.

        Several are asked for at a time, unless a limit is announced, which the first answer tells. The threads are
        daemons, as in `windows.py`: nobody is to wait for one that waits for the API.
        """
        first, *others = (_range(day, day + length) for day in days)
        yield from ask(first)
        answers = [Future[list[Record]]() for _ in others]
        waiting = deque(zip(others, answers, strict=True))

        def work() -> None:
            with suppress(IndexError):  # Nothing waits any more.
                while True:
                    one, answer = waiting.popleft()
                    try:
                        answer.set_result(ask(one))
                    except Exception as error:  # noqa: BLE001 - Raised where the sums are yielded.
                        answer.set_exception(error)

        for _ in range(1 if self.tap.client.is_rate_limited(self.path) else self.config["concurrency"]):
            threading.Thread(target=work, daemon=True).start()
        try:
            for answer in answers:
                yield from answer.result()
        finally:
            waiting.clear()

    def _emitted(self, records: Iterable[Record], progress: Progress) -> Iterator[Record]:
        wanted = self.effective_schema["properties"]
        for record in records:
            self.high_watermark = record["date"]
            progress.rows += 1
            yield {name: value for name, value in record.items() if name in wanted}

    @cached_property
    def shape(self) -> RecordTransformer:
        """What makes records of rows, with the responses, too, where a catalog lacks them."""
        return RecordTransformer(self.schema, self.schema, self._log_odd)

    def rows(self, answer: Any, params: Mapping[str, Any]) -> list[Row]:
        """Return the sums of an answer as a row; without the responses it is no such answer."""
        return [{**answer, "responses": answer["responses"], "date": params["date[start]"]}]


def _end_before(ask: Fetch, days: range) -> bool:
    """Return whether ranges end before the day of `date[end]`, where no day has a response of its own.

    Today is asked for again, since its first response may have come meanwhile. So is tomorrow, which may have begun in
    the account's zone.
    """

    def has_responses(first: int, last: int) -> bool:
        return any(record["responses"] for record in ask(_range(first, last)))

    today, tomorrow = days[-1], days[-1] + 1
    return (
        has_responses(days[0], tomorrow) and not has_responses(today, today) and not has_responses(tomorrow, tomorrow)
    )


def _range(first: int, last: int) -> dict[str, str]:
    """Return the parameters for days, which are counted from 1970."""
    return {"date[start]": _date(first), "date[end]": _date(last)}


def _date(day: int) -> str:
    return timestamp_of_second(day * SECONDS_PER_DAY)[:DATE_LENGTH]
