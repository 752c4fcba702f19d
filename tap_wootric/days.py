"""What the API only tells as sums over a range of days: a row for each day."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from singer_sdk.exceptions import ConfigValidationError

from tap_wootric.base import Ask, WootricStream
from tap_wootric.progress import Progress
from tap_wootric.rows import DATE, DAY, Record, Row, utc

_LATE = 7
"""Days in which most people answer who do. Nothing about it is documented: the number is ours."""


class DailyStream(WootricStream):
    """Sums over a day, by one request for each day from the bookmark, or `start_date`, to today (UTC).

    Which hours are a day depends on the account's time zone (documented), and so does what is today: a row that lacks
    comes with the next sync. The bookmark stays some days behind, whose sums late answers may change.
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

        Whether `date[end]` is the last day of a range or the day behind it is not documented. So if all days are empty
        that are asked for in the one way, while all of them together are not, they are asked for in the other way.
        (An account's first response of all these days may come in between. It then counts for two days, until the next
        sync.)
        """
        days = range(since // DAY, start // DAY + 1)
        for length in (0, 1):
            is_told = False
            for day in days:
                (record,) = ask(_range(day, day + length))
                is_told = is_told or _has_sums(record)
                if is_told:
                    self.reached = record["date"]
                progress.rows += 1
                progress.at(utc(day * DAY))
                yield record
            if is_told or not days or not any(map(_has_sums, ask(_range(days[0], days[-1])))):
                break
        self.reached = utc(start)

    def rows(self, answer: Any, params: Mapping[str, Any]) -> list[Row]:
        """Return the sums of an answer as a row."""
        answer["responses"]  # Without them it is no such answer.
        return [{**answer, "date": params["date[start]"]}]


def _range(first: int, last: int) -> dict[str, str]:
    """Return the parameters for days, which are counted from 1970."""
    return {"date[start]": utc(first * DAY)[:DATE], "date[end]": utc(last * DAY)[:DATE]}


def _has_sums(record: Record) -> bool:
    return any(isinstance(value, int | Decimal) and value for value in record.values())
