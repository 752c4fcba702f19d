"""Which requests a list sends, how far its bookmark may move, and what it reads again."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import pytest
import requests
from singer_sdk.exceptions import FatalAPIError
from singer_sdk.singerlib import RecordMessage

from tap_wootric import progress
from tap_wootric.api.responses import ApiUnavailableError
from tap_wootric.pagination import ties
from tap_wootric.pagination.query import Query, TimeRange
from tap_wootric.streams import Declines, EndUsers, Responses
from tap_wootric.streams.lists import FIRST_SYNC, parameters
from tap_wootric.tap import FailedStreamsError
from tests.unit.api.fakes import response
from tests.unit.fakes import NOW, catalog_of, full_table, make_tap, row, serving, stamp

START_DATE = "2024-01-01"
START = 1_704_067_200
"""START_DATE."""
DAY = 86_400
MIDNIGHT = NOW - 8 * 3_600
"""The start of the day of NOW."""
YESTERDAY = stamp(MIDNIGHT - 301)
"""The bookmark of a sync that started in the last second of the day before."""
TODAY = stamp(MIDNIGHT - 300)

BY_CREATION = pytest.mark.parametrize("stream", ["responses", "declines"])
LISTS = pytest.mark.parametrize("stream", ["end_users", "responses", "declines"])


def read(tap: Any, stream: str) -> list[int]:
    """Return the ids of the records of a sync."""
    return [record["id"] for record in tap.streams[stream].get_records(None)]


def asked(tap: Any) -> list[dict[str, Any]]:
    """Return the parameters of the requests, without those that are the same in all."""
    return [{key: value for key, value in params.items() if key != "per_page"} for _, params in tap.client.requests]


def bookmark(tap: Any, stream: str) -> dict[str, Any]:
    """Return what the state says about a stream."""
    found: dict[str, Any] = tap.state["bookmarks"][stream]
    return found


# Requests


def test_the_parameters_of_a_query_are_the_apis() -> None:
    assert parameters(Query("created_at")) == {"per_page": 50, "sort_key": "created_at", "sort_order": "asc"}
    query = Query(
        "updated_at", updated_at=TimeRange(1, 2), created_at=TimeRange(gte=3), descending=True, page=2, size=7
    )
    assert parameters(query) == {
        "per_page": 7,
        "sort_key": "updated_at",
        "sort_order": "desc",
        "updated[gte]": 1,
        "updated[lt]": 2,
        "created[gte]": 3,
        "page": 2,
    }


def test_the_keys_that_the_api_sorts_by_are_documented_for_end_users_and_creation_is_measured_for_the_others() -> None:
    assert EndUsers.sort_keys == ("updated_at", "created_at", "email")
    assert Responses.sort_keys == Declines.sort_keys == ("created_at",)


def test_end_users_are_read_by_update_time_up_to_the_start_of_the_sync() -> None:
    tap = make_tap(serving([]), start_date=START_DATE)
    assert read(tap, "end_users") == []
    assert asked(tap) == [
        {"sort_key": "updated_at", "sort_order": "asc", "updated[gte]": START, "updated[lt]": NOW + 1}
    ]


@BY_CREATION
def test_responses_and_declines_are_read_by_creation_time_up_to_the_start_of_the_sync(stream: str) -> None:
    tap = make_tap(serving([]), start_date=START_DATE)
    assert read(tap, stream) == []
    assert asked(tap) == [
        {"sort_key": "created_at", "sort_order": "asc", "created[gte]": START, "created[lt]": NOW + 1}
    ]


@BY_CREATION
@pytest.mark.parametrize("is_full_table", [False, True])
def test_responses_and_declines_are_never_asked_for_by_anything_but_creation(
    stream: str, monkeypatch: pytest.MonkeyPatch, *, is_full_table: bool
) -> None:
    monkeypatch.setattr(ties, "LAST_PAGE", 2)
    rows = [row(number, START + number // 130) for number in range(400)]
    tap = make_tap(serving(rows), catalog=full_table(stream) if is_full_table else None)
    with pytest.raises(FatalAPIError, match="there may be more"):
        read(tap, stream)
    assert {name for params in asked(tap) for name in params} == {
        *("sort_key", "sort_order", "page", "created[gte]", "created[lt]")
    }
    assert {params["sort_key"] for params in asked(tap)} == {"created_at"}


@LISTS
def test_a_full_table_reads_by_creation_and_has_no_end(stream: str) -> None:
    rows = [row(1, START + 1), row(2, NOW + DAY), row(3, NOW + 400 * DAY)]
    tap = make_tap(serving(rows), catalog=full_table(stream), start_date=START_DATE)
    assert read(tap, stream) == [1, 2, 3]
    assert {params["sort_key"] for params in asked(tap)} == {"created_at"}
    start = "updated[gte]" if stream == "end_users" else "created[gte]"
    assert asked(tap)[0] == {"sort_key": "created_at", "sort_order": "asc", start: START}


@LISTS
def test_an_empty_range_takes_no_request(stream: str) -> None:
    assert read(make_tap(start_date="2025-06-01"), stream) == []  # After NOW.


@LISTS
def test_a_second_that_is_not_over_may_get_rows_while_it_is_read(stream: str) -> None:
    rows = [row(number, NOW) for number in range(60)]

    def answer(path: str, params: Mapping[str, Any]) -> requests.Response:
        if len(rows) < 70:
            rows.append(row(len(rows), NOW))
        return serving(rows)(path, params)

    assert {*range(60)} <= {*read(make_tap(answer, start_date=START_DATE), stream)}


@LISTS
def test_a_response_that_would_lose_rows_is_an_error_of_the_stream(stream: str) -> None:
    tap = make_tap(lambda *_: response(content=[row(1, START - 1)]), start_date=START_DATE)
    with pytest.raises(FatalAPIError, match=rf"^{stream}: rows came from outside the range"):
        read(tap, stream)


# The bookmark


@LISTS
def test_the_position_moves_with_each_row_and_a_row_without_a_time_does_not_move_it(stream: str) -> None:
    rows = [row(1, START), row(2, START + DAY), {"id": 3}]
    pages = iter([rows])
    source = make_tap(lambda *_: response(content=next(pages, [])), start_date=START_DATE).streams[stream]
    positions = [source.position for _ in source.get_records(None)]
    assert positions == [stamp(START), stamp(START + DAY), stamp(START + DAY)]


# The recheck


@BY_CREATION
@pytest.mark.parametrize(
    ("state", "settings", "start"),
    [
        pytest.param(YESTERDAY, {}, NOW - 30 * DAY, id="first sync of the day"),
        pytest.param(TODAY, {}, MIDNIGHT - 300, id="second sync of the day"),
        pytest.param(YESTERDAY, {"recheck_days": 2}, NOW - 2 * DAY, id="fewer days"),
        pytest.param(YESTERDAY, {"recheck_days": 0}, MIDNIGHT - 301, id="never"),
        pytest.param(YESTERDAY, {"recheck_days": 36_500}, 0, id="everything since 1970"),
        pytest.param("2024-06-01T00:00:00Z", {}, START + 152 * DAY, id="bookmark before those days"),
        pytest.param(YESTERDAY, {"start_date": "2025-01-10"}, NOW - 5 * DAY - 8 * 3_600, id="not before start_date"),
        pytest.param(YESTERDAY, {"lookback_window": 7_200}, MIDNIGHT - 301, id="by the lookback window of the sync"),
    ],
)
def test_the_first_sync_of_a_day_reads_the_last_days_again(
    stream: str, state: str, settings: dict[str, Any], start: int
) -> None:
    tap = make_tap(serving([row(1, NOW)]), state={stream: state}, **settings)
    read(tap, stream)
    assert asked(tap)[0].get("created[gte]") == start
    assert bookmark(tap, stream)["replication_key_value"] == stamp(NOW - settings.get("lookback_window", 300))


@BY_CREATION
def test_a_recheck_is_made_once_a_day_and_again_only_if_it_was_killed_before_the_bookmark(stream: str) -> None:
    rows = [row(number, NOW - 20 * DAY + number * 3_600) for number in range(470)]
    tap = make_tap(serving(rows), state={stream: YESTERDAY})
    records = tap.streams[stream].get_records(None)
    for _ in range(300):  # 12 of 20 days.
        next(records)
    tap.move_bookmarks()
    killed = tap.state
    assert bookmark(tap, stream)["replication_key_value"] == YESTERDAY
    again = make_tap(serving(rows), state=killed, now=NOW + 60)
    assert read(again, stream) == [*range(470)]
    later = make_tap(serving(rows), state=again.state, now=NOW + 3_600)
    assert read(later, stream) == []
    assert len(asked(later)) == 1
    tomorrow = make_tap(serving(rows), state=later.state, now=MIDNIGHT + DAY)
    assert read(tomorrow, stream) == [*range(470)]


@BY_CREATION
def test_an_interrupted_first_sync_goes_on_without_a_recheck_whatever_day_it_is(stream: str) -> None:
    rows = [row(number, NOW - 20 * DAY + number * 3_600) for number in range(470)]
    state, starts = None, []
    for day in range(4):
        tap = make_tap(serving(rows), state=state, now=NOW + day * DAY)
        records = tap.streams[stream].get_records(None)
        for _ in range(100):
            next(records)
        tap.move_bookmarks()
        state = tap.state
        assert bookmark(tap, stream)["is_first_sync"] is True
        starts.append(bookmark(tap, stream)["replication_key_value"])
    assert starts == [rows[99 * number]["created_at"] for number in (1, 2, 3, 4)]
    last = make_tap(serving(rows), state=state, now=NOW + 4 * DAY)
    assert read(last, stream) == [*range(396, 470)]
    assert bookmark(last, stream) == {
        "replication_key": "updated_at",
        "replication_key_value": stamp(NOW + 4 * DAY - 300),
    }


@LISTS
@pytest.mark.parametrize(
    "given",
    [{}, {"replication_key_value": stamp(NOW - DAY)}, {"replication_key_value": stamp(NOW - DAY), FIRST_SYNC: True}],
    ids=["first", "later", "interrupted first"],
)
def test_after_an_empty_page_by_mistake_the_next_sync_reads_the_same_range(stream: str, given: dict[str, Any]) -> None:
    tap = make_tap(serving([]), state={"bookmarks": {stream: given}}, recheck_days=0)
    assert read(tap, stream) == []
    assert len(asked(tap)) == 1
    rows = [row(number, NOW - DAY + number) for number in range(200)]
    assert read(make_tap(serving(rows), state=tap.state, recheck_days=0), stream) == [*range(200)]


@LISTS
def test_an_empty_page_by_mistake_ends_no_full_table(stream: str) -> None:
    listed = serving([row(number, NOW - DAY + number) for number in range(200)])
    tap = make_tap(
        lambda *request: listed(*request) if tap.client.requests[1:] else response(content=[]),
        catalog=full_table(stream),
    )
    assert read(tap, stream) == [*range(200)]


@BY_CREATION
def test_a_full_table_does_not_postpone_the_next_recheck(stream: str) -> None:
    rows = [row(number, NOW - DAY) for number in range(3)]
    tap = make_tap(serving(rows), state={stream: YESTERDAY}, catalog=full_table(stream))
    records = tap.streams[stream].get_records(None)
    next(records)
    tap.move_bookmarks()
    assert "is_first_sync" not in bookmark(tap, stream)
    list(records)
    assert bookmark(tap, stream)["replication_key_value"] == YESTERDAY
    assert read(make_tap(serving(rows), state=tap.state), stream) == [0, 1, 2]


def test_end_users_are_never_rechecked(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    tap = make_tap(serving([row(1, NOW - DAY)]), state={"end_users": YESTERDAY})
    assert read(tap, "end_users") == []
    assert "again" not in caplog.text
    assert [*bookmark(tap, "end_users")] == ["replication_key", "replication_key_value"]


@pytest.mark.parametrize("days", [1, 30])
def test_a_recheck_is_one_line_with_its_days(days: int, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    rows = [row(1, NOW - 13 * 3_600), row(2, NOW - 12 * 3_600), row(3, NOW - 60)]
    assert read(make_tap(serving(rows), state={"responses": YESTERDAY}, recheck_days=days), "responses") == [1, 2, 3]
    [line] = [message for message in caplog.messages if "again" in message]
    assert line == (
        f"responses: read the last {days} day{'s'[: days > 1]} again, "
        "because the API cannot say which rows have changed"
    )


# Progress


@pytest.mark.parametrize(("stream", "is_full_table"), [("end_users", False), ("responses", True)])
def test_a_forecast_changes_nothing_that_is_read_and_its_requests_are_counted(
    stream: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, *, is_full_table: bool
) -> None:
    caplog.set_level(logging.INFO)
    rows = [row(number, START + number * 1_000) for number in range(700)]
    requests_sent = {}
    for interval in (10, -1):
        monkeypatch.setattr(progress, "_INTERVAL_SECONDS", interval)
        monkeypatch.setattr(progress, "_FIRST_FORECAST_SECONDS", interval)
        catalog = full_table(stream) if is_full_table else catalog_of(make_tap(), stream)
        tap = make_tap(serving(rows), start_date=START_DATE, catalog=catalog)
        assert read(tap, stream) == list(range(700))
        requests_sent[interval] = len(tap.client.requests)
        assert f"{stream}: done, 700 rows in {requests_sent[interval]} requests" in caplog.text
    pages = [params.get("page", 1) for params in asked(tap)]
    assert requests_sent[-1] - requests_sent[10] == sum(page > 1 for page in pages) > 0
    (line, *_) = [message for message in caplog.messages if message.startswith(f"{stream}: at ")]
    assert line.endswith(" left")


@pytest.mark.parametrize("failing", [response(400, {}), response(503), response(content=[row(1, START - 1)])])
def test_a_forecast_that_fails_does_not_end_the_sync(
    failing: requests.Response, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(progress, "_INTERVAL_SECONDS", -1)
    monkeypatch.setattr(progress, "_FIRST_FORECAST_SECONDS", -1)
    rows = [row(number, START + number * 1_000) for number in range(120)]

    def answer(path: str, params: Mapping[str, Any]) -> requests.Response:
        return failing if params.get("page") == 30 else serving(rows)(path, params)

    assert read(make_tap(answer, start_date=START_DATE), "end_users") == list(range(120))
    lines = [record for record in caplog.records if record.message.startswith("end_users: at ")]
    assert len(lines) > 1
    assert not any("left" in record.message for record in lines)


# A second that cannot be proven complete


@pytest.fixture
def _one_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let page 2 be the last one that the API answers: more than 50 rows cannot be counted."""
    monkeypatch.setattr(ties, "LAST_PAGE", 2)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the warnings about seconds, without the one that a stream failed."""
    texts = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    return [text for text in texts if "there may be more" in text and "other streams" not in text]


def synced(tap: Any) -> tuple[list[int], str]:
    """Sync, and return the ids of the records, and the line of the stream that failed."""
    ids: list[int] = []
    write = tap.write_message

    def note(message: Any) -> None:
        ids.extend([message.record["id"]] if isinstance(message, RecordMessage) else [])
        write(message)

    tap.write_message = note
    try:
        tap.sync_all()
    except FailedStreamsError as error:
        [line] = error.errors
        return ids, line
    return ids, ""


def declines(rows: list[dict[str, Any]], **options: Any) -> Any:
    """Return a tap of these declines."""
    return make_tap(serving(rows), **{"catalog": catalog_of(make_tap(), "declines"), **options})


@pytest.mark.usefixtures("_one_page")
def test_an_unproven_second_fails_its_stream_once_and_blocks_no_sync(caplog: pytest.LogCaptureFixture) -> None:
    second = NOW - 10_000
    rows = [row(1, second - 10), *(row(number, second) for number in range(100, 350)), row(2, second + 10)]
    first = declines(rows)
    ids, line = synced(first)
    assert line.startswith(f"declines: 100 rows created at {stamp(second)} were read, and there may be more: ")
    assert line.endswith(". The next sync continues after that second")
    assert len(ids) == 102
    assert {1, 2} <= {*ids}
    assert first.streams["declines"].bookmark == stamp(NOW - 300)
    [warning] = warnings(caplog)
    assert warning.endswith("The rest is still read, but the stream will fail at its end")
    assert synced(declines(rows, state=first.state)) == ([], "")


@pytest.mark.usefixtures("_one_page")
def test_an_unproven_second_of_a_recheck_is_only_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    rows = [row(number, NOW - 3 * DAY) for number in range(250)]
    ids, line = synced(declines(rows, state={"declines": YESTERDAY}))
    assert (len(ids), line) == (100, "")
    [warning] = warnings(caplog)
    assert warning.endswith("It lies before the bookmark, and the next recheck reads it again")


@pytest.mark.usefixtures("_one_page")
@pytest.mark.parametrize(("age", "fails"), [(299, False), (300, False), (301, True)])
def test_an_unproven_second_that_the_next_sync_reads_again_is_only_a_warning(
    age: int, caplog: pytest.LogCaptureFixture, *, fails: bool
) -> None:
    tap = declines([row(number, NOW - age) for number in range(100, 350)])
    ids, line = synced(tap)
    assert len(ids) == 100
    assert bool(line) is fails
    [warning] = warnings(caplog)
    assert warning.endswith("The next sync reads this second again") is not fails
    assert (tap.streams["declines"].bookmark <= stamp(NOW - age)) is not fails


@pytest.mark.usefixtures("_one_page")
@pytest.mark.parametrize(("stream", "age"), [("end_users", 10), ("end_users", 10_000), ("declines", 10)])
def test_a_full_table_with_an_unproven_second_is_not_activated(
    stream: str, age: int, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [row(number, NOW - age) for number in range(100, 350)]
    ids, line = synced(make_tap(serving(rows), catalog=full_table(stream)))
    assert len(ids) == 100
    assert line.endswith(". The target keeps the rows of earlier syncs")
    assert "ACTIVATE_VERSION" not in capsys.readouterr().out


@pytest.mark.usefixtures("_one_page")
def test_several_unproven_seconds_are_one_line(caplog: pytest.LogCaptureFixture) -> None:
    rows = [row(100 * second + number, NOW - 10_000 + second) for second in range(3) for number in range(100)]
    ids, line = synced(declines(rows))
    assert sorted(ids) == list(range(300))
    assert line.endswith(
        " (1 of 3 such seconds; the warnings name the others). The next sync continues after those seconds"
    )
    assert len(warnings(caplog)) == 3


@pytest.mark.usefixtures("_one_page")
@pytest.mark.parametrize("error", [response(400, {}), ApiUnavailableError("Wootric rejected the credentials")])
def test_an_unproven_second_is_logged_even_if_another_error_ends_the_stream(
    error: requests.Response | Exception, caplog: pytest.LogCaptureFixture
) -> None:
    rows = [row(number, NOW - 10_000) for number in range(150)] + [row(200, NOW - 9_000)]

    def answer(path: str, params: Mapping[str, Any]) -> requests.Response:
        if not NOW - 10_000 < params.get("created[gte]", 0) <= NOW or params["created[lt]"] < NOW:
            return serving(rows)(path, params)
        if isinstance(error, Exception):
            raise error
        return error

    tap = make_tap(answer, catalog=catalog_of(make_tap(), "declines"), start_date="2025-01-01")
    with pytest.raises(FailedStreamsError) as raised:
        tap.sync_all()
    [line] = raised.value.errors
    unproven = f"100 rows created at {stamp(NOW - 10_000)} were read, and there may be more: "
    if isinstance(error, Exception):
        assert line == "Wootric rejected the credentials"
    else:
        assert line == "declines: 400 Bad Request for /v1/responses"
    assert unproven in warnings(caplog)[0]
