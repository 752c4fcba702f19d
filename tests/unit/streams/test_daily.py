"""A row for each day, whether or not the API counts the last day of a range."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import pytest
import requests
from singer_sdk.exceptions import ConfigValidationError, FatalAPIError

from tap_wootric.records.timestamps import unix_seconds
from tap_wootric.streams import STREAMS, NpsSummary
from tests.unit.api.fakes import response
from tests.unit.fakes import NOW, catalog_of, full_table, make_tap, messages

TODAY = "2025-01-15"
"""The day of NOW."""


DAILY = {
    "nps_summary": ("date[start]", "date[end]", "responses"),
    "email_stats": ("date_range[start_date]", "date_range[end_date]", "send_requests"),
}
"""For each stream the parameters of a range, and the field that the tests count in."""


class Days:
    """Answers with the number of responses (or emails) in a range of days, whose last day may not be in it."""

    def __init__(self, responses: Mapping[str, object], *, excludes_last_day: bool = False) -> None:
        self.responses = responses
        self.excludes_last_day = excludes_last_day
        self.ranges: list[tuple[str, str]] = []

    def __call__(self, path: str, params: Mapping[str, Any]) -> requests.Response:
        first, last = params.values()
        self.ranges.append((first, last))
        in_range = [
            count
            for day, count in self.responses.items()
            if first <= day and (day < last if self.excludes_last_day else day <= last)
        ]
        numbers = [count for count in in_range if isinstance(count, int)]
        count = sum(numbers) if numbers or not in_range else in_range[0]
        is_nps = path == NpsSummary.path
        return response(
            content={"nps": 50, "responses": count} if is_nps else {"email_stats": {"send_requests": count}}
        )


def tap_with(days: Any, **options: Any) -> Any:
    return make_tap(days, **{"start_date": "2025-01-13", **options})


def read(tap: Any, stream: str = "nps_summary") -> dict[str, object]:
    """Return the responses (or emails) of each day in a sync."""
    field = DAILY[stream][2]
    return {record["date"]: record[field] for record in tap.streams[stream].get_records(None)}


@pytest.mark.parametrize("stream", DAILY)
@pytest.mark.parametrize("excludes_last_day", [False, True])
@pytest.mark.parametrize(
    "responses",
    [{"2025-01-13": 3, "2025-01-14": 1, TODAY: 2}, {TODAY: 2}, {"2025-01-14": 4}],
    ids=["each day", "today alone", "one day"],
)
def test_days_have_their_own_responses(responses: dict[str, object], excludes_last_day: bool, stream: str) -> None:  # noqa: FBT001
    days = Days(responses, excludes_last_day=excludes_last_day)
    assert read(tap_with(days), stream) == {day: responses.get(day, 0) for day in ("2025-01-13", "2025-01-14", TODAY)}


@pytest.mark.parametrize("stream", DAILY)
def test_a_range_is_asked_for_by_the_parameters_of_its_stream(stream: str) -> None:
    tap = tap_with(Days({}))
    read(tap, stream)
    first, last, _ = DAILY[stream]
    assert tap.client.requests[0] == (STREAMS[stream].path, {first: "2025-01-13", last: "2025-01-13"})


@pytest.mark.parametrize("stream", DAILY)
def test_an_account_without_responses_costs_one_request_more(stream: str) -> None:
    days = Days({})
    assert read(tap_with(days), stream) == {"2025-01-13": 0, "2025-01-14": 0, TODAY: 0}
    assert len(days.ranges) == 4


def test_a_response_of_tomorrow_in_the_accounts_time_zone_proves_nothing() -> None:
    assert read(tap_with(Days({"2025-01-16": 1})))[TODAY] == 0


def test_no_row_is_emitted_before_a_day_has_responses() -> None:
    def answer(path: str, params: Mapping[str, Any]) -> requests.Response:
        return response(400, {}) if params["date[start]"] == TODAY else Days({})(path, params)

    stream = tap_with(answer).streams["nps_summary"]
    emitted = []
    with pytest.raises(FatalAPIError):
        emitted.extend(stream.get_records(None))
    assert emitted == []
    assert stream.position == ""


@pytest.mark.parametrize("stream", DAILY)
@pytest.mark.parametrize(
    ("bookmark", "first"), [("2025-01-01", "2025-01-01"), (TODAY, "2025-01-08"), ("2024-12-01", "2024-12-31")]
)
def test_a_sync_starts_at_the_bookmark_or_the_start_date_and_rereads_seven_days(
    bookmark: str, first: str, stream: str
) -> None:
    days = Days({first: 1})
    tap = tap_with(days, state={stream: bookmark}, start_date="2024-12-31")
    assert next(iter(read(tap, stream))) == first
    tap.move_bookmarks()
    assert tap.streams[stream].bookmark == "2025-01-08"


def test_days_are_fetched_in_order_and_an_error_ends_the_stream_in_its_turn() -> None:
    def answer(path: str, params: Mapping[str, Any]) -> requests.Response:
        is_broken = params["date[start]"] == "2025-01-14"
        return response(400, {}) if is_broken else Days({"2025-01-13": 1})(path, params)

    tap, emitted = tap_with(answer), []
    with pytest.raises(FatalAPIError):
        emitted.extend(tap.streams["nps_summary"].get_records(None))
    assert [record["date"] for record in emitted] == ["2025-01-13"]
    assert [params["date[start]"] for _, params in tap.client.requests] == ["2025-01-13", "2025-01-14"]


@pytest.mark.parametrize("stream", DAILY)
def test_without_a_first_day_the_stream_fails(stream: str) -> None:
    with pytest.raises(ConfigValidationError) as raised:
        make_tap().streams[stream].check_settings()
    assert raised.value.errors == [f"start_date is not set: {stream} needs it as its first day"]
    make_tap(state={stream: "2025-01-01"}).streams[stream].check_settings()
    make_tap(start_date="2025-01-01").streams[stream].check_settings()


def test_a_full_table_without_a_day_is_an_error_because_the_target_would_drop_all_rows() -> None:
    tap = tap_with(Days({}), catalog=full_table("nps_summary"), now=NOW - 30 * 86_400)
    with pytest.raises(FatalAPIError, match=r"^nps_summary: start_date is after today, which is 2024-12-16$"):
        read(tap)


def test_a_sync_without_a_day_reads_nothing() -> None:
    assert read(tap_with(Days({}), now=NOW - 30 * 86_400)) == {}


def test_days_before_1970_are_read() -> None:
    tap = tap_with(Days({"1969-12-30": 1}), start_date="1969-12-30")
    record = next(iter(tap.streams["nps_summary"].get_records(None)))
    assert (record["date"], record["responses"]) == ("1969-12-30", 1)


def test_today_is_the_day_of_the_clock_that_is_behind() -> None:
    tap = tap_with(Days({TODAY: 1}))
    tap.client.local_time += 9 * 86_400
    assert [*read(tap)][-1] == TODAY
    tap.move_bookmarks()
    assert tap.streams["nps_summary"].bookmark == "2025-01-08"


@pytest.mark.parametrize(
    "stats", [{"send_requests": 1}, {"send_requests": 0, "emails_sent": 2}, {"send_requests": "3"}]
)
def test_a_request_to_send_or_an_email_that_was_sent_shows_that_ranges_include_their_last_day(
    stats: dict[str, object],
) -> None:
    tap = tap_with(lambda *_: response(content={"email_stats": stats}))
    next(iter(tap.streams["email_stats"].get_records(None)))
    assert len(tap.client.requests) == 1


@pytest.mark.parametrize("stream", DAILY)
def test_totals_that_the_catalog_lacks_are_read_and_left_out_of_the_messages(
    stream: str, capsys: pytest.CaptureFixture[str]
) -> None:
    catalog = catalog_of(make_tap(), stream)
    (entry,) = [entry for entry in catalog["streams"] if entry["stream"] == stream]
    del entry["schema"]["properties"][DAILY[stream][2]]
    days = Days({TODAY: 1})
    tap_with(days, catalog=catalog).sync_all()
    assert len(days.ranges) == 3  # Activity was noticed: what ranges include needs no request of its own.
    records = [message["record"] for message in messages(capsys.readouterr().out) if message["type"] == "RECORD"]
    assert [record["date"] for record in records] == ["2025-01-13", "2025-01-14", TODAY]
    assert not any(DAILY[stream][2] in record for record in records)


def test_bookmarks_are_dates() -> None:
    assert NpsSummary.bookmark_at("2025-01-15T23:00:00-08:00") == "2025-01-16"


def test_each_day_that_is_left_is_a_request_to_come(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    tap = tap_with(Days({TODAY: 2}), start_date="2025-01-01")
    read(tap)
    requests_after = tap.streams["nps_summary"].forecast(0)
    assert [requests_after(unix_seconds(f"2025-01-{day}T00:00:00Z")) for day in ("01", "14", "15")] == [14, 1, 0]
    assert "nps_summary: incremental sync from 2025-01-01T00:00:00Z" in caplog.messages
    assert "nps_summary: done, 15 rows in 15 requests and less than 1 s, up to 2025-01-15" in caplog.messages
